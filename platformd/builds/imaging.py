"""One build of a Dockerfile by the engine, as a program of its own: what ends it ends the build.

Started by a job as `python -m platformd.builds.imaging` with what to do as JSON on its input; what the engine says goes
to its error stream, the image's id to its output. The engine ends a build whose client is gone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from docker import APIClient
from docker.errors import DockerException

SILENCE_SECS = 600


def main() -> int:
    order = json.load(sys.stdin)
    try:
        client = APIClient(order["engine"], version="auto", timeout=SILENCE_SECS)
        image = _build(client, order)
    except (DockerException, OSError, ValueError) as error:
        _say(f"the engine cannot build: {error}")
        return 1
    if image is None:
        return 1
    sys.stdout.write(f"{image}\n")
    return 0


def _build(client: APIClient, order: dict[str, Any]) -> str | None:
    """The image's id; None when the Dockerfile failed, which has been said."""
    told: Iterator[dict[str, Any]] = client.build(
        path=order["path"],
        dockerfile=order["dockerfile"],
        tag=order["tag"],
        labels=order["labels"],
        rm=True,
        forcerm=True,
        decode=True,
        container_limits={"memory": order["memory"], "memswap": order["memory"]},
    )
    for message in told:
        for line in str(message.get("stream") or "").splitlines():
            _say(line)
        if "status" in message and "progress" not in message:
            _say(f"{message['status']} {message.get('id', '')}".strip())
        if "error" in message:
            _say(str(message["error"]))
            return None
    return str(client.inspect_image(order["tag"])["Id"])


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
