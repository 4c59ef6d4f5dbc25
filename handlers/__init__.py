"""The HTTP API: Tornado handlers that turn requests into commands and rows into answers."""
