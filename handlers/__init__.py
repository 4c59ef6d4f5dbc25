"""The HTTP API: Tornado handlers that turn requests into commands and rows into answers.

The composition root fills in a `Context` and gets the application and its server.
"""

from handlers.context import Context
from handlers.routes import Api, make_app, make_server

__all__ = ["Api", "Context", "make_app", "make_server"]
