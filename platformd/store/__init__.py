"""Snapshots, rows and migrations: what must survive, and its only writer."""

from platformd.domain.operations import (
    AdoptDomain,
    Claim,
    ClaimCurrent,
    CompleteArtifact,
    CreateApp,
    CreateArtifact,
    CreateDeployment,
    Operation,
    ReleaseCurrent,
    SaveDeployment,
    SaveTask,
)
from platformd.store.connection import Refused, StoreFailed
from platformd.store.lists import SORT_ORDERS, SORTS, Page
from platformd.store.memory import MemoryStore
from platformd.store.reader import Current, Route
from platformd.store.store import Store

__all__ = [
    "SORTS",
    "SORT_ORDERS",
    "AdoptDomain",
    "Claim",
    "ClaimCurrent",
    "CompleteArtifact",
    "CreateApp",
    "CreateArtifact",
    "CreateDeployment",
    "Current",
    "MemoryStore",
    "Operation",
    "Page",
    "Refused",
    "ReleaseCurrent",
    "Route",
    "SaveDeployment",
    "SaveTask",
    "Store",
    "StoreFailed",
]
