"""Actors: every deployment and every task is one, run by a small pool of threads.

Outsiders use `directory` (tell, ask), `bridge` (ask from asyncio) and `messages` (keys, lanes, errors); the
rest is how those work. A module here is imported by its full name.
"""
