"""Uploaded executables, stored once per content."""
