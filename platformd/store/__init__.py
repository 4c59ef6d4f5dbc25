"""Snapshots, rows and migrations: what must survive, and its only writer."""
