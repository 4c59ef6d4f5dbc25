"""The tests: one folder for each room, and `python -m tests` to run every check there is."""
