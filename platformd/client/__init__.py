"""The API from outside: what a program, or the command line, calls a server with.

`Client` has a method for each thing the API does; answers are the API's own JSON, typed. Standard library only,
blocking. A `Client` holds no connection, so any number of threads may share one.
"""

from platformd.client.api import Client, is_missing_app
from platformd.client.errors import BadAnswer, ClientError, NotNamed, Problem, Unreachable
from platformd.client.objects import App, Artifact, Deployment, LogEntry, Reason, Task

__all__ = [
    "App",
    "Artifact",
    "BadAnswer",
    "Client",
    "ClientError",
    "Deployment",
    "LogEntry",
    "NotNamed",
    "Problem",
    "Reason",
    "Task",
    "Unreachable",
    "is_missing_app",
]
