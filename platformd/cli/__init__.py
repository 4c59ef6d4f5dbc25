"""The commands of the `platformd` program."""
