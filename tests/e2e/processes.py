"""Who lives on this machine on behalf of a deployment, seen from outside. Used by end-to-end tests."""

from __future__ import annotations

import contextlib

import psutil

from tests.e2e.platform import Platform


def alive(deployment_id: str) -> list[psutil.Process]:
    """Every process with the deployment's mark in its environment; what has ended but was not waited for is none."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            marked = process.environ().get("DEPLOYMENT_ID") == deployment_id
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def processes_of(server: Platform, word: str) -> list[int]:
    """Those of the server's with `word` among their arguments; a shell that is only going to start one is none."""
    found = []
    for process in server.family():
        with contextlib.suppress(psutil.Error):
            if word in process.cmdline():
                found.append(process.pid)
    return found


def zombies(platform_pids: list[int]) -> list[psutil.Process]:
    """Ended children that one of these processes has not waited for."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE and process.ppid() in platform_pids:
                found.append(process)
    return found
