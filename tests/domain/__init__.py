"""Tests of the pure core: its tables, scenarios, and a little world in which its two machines play together."""
