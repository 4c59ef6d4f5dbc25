"""A burst at a sleeping app with a limit of concurrency: more tasks come, and none ever sees more than it may."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.herd import herd
from tests.e2e.platform import Platform, host_of

COUNTING = b"""#!/usr/bin/env python3
import asyncio, os

now = most = 0


async def serve(reader, writer):
    global now, most
    while await reader.readline():
        while (await reader.readline()).strip():
            pass
        now += 1
        if now > most:
            most = now
            with open(os.path.join(os.environ["MOST"], os.environ["TASK_ID"]), "w") as file:
                file.write(str(most))
        await asyncio.sleep(0.4)
        now -= 1
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]), backlog=500)
    await server.serve_forever()


asyncio.run(main())
"""


@pytest.mark.needs("python3 for tasks")
def test_a_burst_at_wake_scales_up_and_no_task_sees_more_than_it_may(
    server: Platform, rich: Path, common: Path
) -> None:
    deployment = server.deploy(
        COUNTING,
        env={"MOST": str(common)},
        wake={"concurrency": 10},
        autoscale={"min": 1, "max": 4, "target_concurrency": 10},
    )
    assert deployment["spec"]["autoscale"] == {"min": 1, "max": 4, "target_concurrency": 10}
    server.sleep(deployment["id"])

    answers = herd(server.gateway_url, host_of(deployment), 150)

    assert [answer.status for answer in answers] == [200] * 150
    most = [int(file.read_text()) for file in common.iterdir() if len(file.name) == 36]
    assert max(most) <= 10
    assert len(most) == 4
    assert server.deployment(deployment["id"])["tasks_total"] == 4
    lines = server.api("GET", f"/deployments/{deployment['id']}/logs?stream=system").json
    assert any("autoscale: from 1 to 4 tasks" in line["message"] for line in lines)
