"""The API from outside: what a program, or the command line, calls a server with.

`Client` and `AsyncClient` have the same methods, one for each thing the API does;
answers are the API's own JSON, typed.
A client holds no connection, so any number of threads may share a `Client`, and any number of tasks an `AsyncClient`.
Every failure is a `ClientError`.
"""

from platformd.client.api import AsyncClient, Client
from platformd.client.apps import DEFAULT_NAMESPACE, is_missing_app, key_of
from platformd.client.errors import BadAnswer, ClientError, NotNamed, Problem, Unreachable
from platformd.client.objects import (
    Actor,
    App,
    Artifact,
    Build,
    BuildLogEntry,
    Commit,
    DeadLetter,
    Deployment,
    Domain,
    Environment,
    Event,
    LogEntry,
    Reason,
    Source,
    Task,
    Token,
)

__all__ = [
    "DEFAULT_NAMESPACE",
    "Actor",
    "App",
    "Artifact",
    "AsyncClient",
    "BadAnswer",
    "Build",
    "BuildLogEntry",
    "Client",
    "ClientError",
    "Commit",
    "DeadLetter",
    "Deployment",
    "Domain",
    "Environment",
    "Event",
    "LogEntry",
    "NotNamed",
    "Problem",
    "Reason",
    "Source",
    "Task",
    "Token",
    "Unreachable",
    "is_missing_app",
    "key_of",
]
