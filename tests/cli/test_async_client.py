"""The client of a loop: it has what the blocking one has, and does it without blocking; against a real server."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from platformd.client import AsyncClient, BadAnswer, Client, ClientError, Problem, Unreachable
from tests.architecture.house import ROOT
from tests.cli.commands import TALKING, Commands
from tests.cli.test_client import GONE, answer, lines, problem, scripted
from tests.e2e.platform import Platform


def public(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_both_clients_have_the_same_methods() -> None:
    assert public(Client) == public(AsyncClient)
    assert len(public(Client)) > 30
    for name in public(Client):
        ours, theirs = getattr(Client, name), getattr(AsyncClient, name)
        assert inspect.signature(ours) == inspect.signature(theirs), name
        assert inspect.getdoc(ours), f"say what {name} does"


@pytest.fixture
async def client(shared: Commands) -> AsyncClient:
    return AsyncClient(shared.server)


async def test_a_life(client: AsyncClient, tmp_path: Path) -> None:
    """Made, uploaded, deployed, followed, asleep, woken, cancelled; the stream ends with the deployment."""
    path = tmp_path / "talking"
    path.write_bytes(TALKING)
    app = await client.create_app("async-life", labels={"a": "b"})
    assert (await client.app("async-life"))["labels"] == {"a": "b"}
    told: list[tuple[int, int]] = []
    artifact = await client.upload(path, progress=lambda sent, total: told.append((sent, total)))
    assert told[-1] == (len(TALKING), len(TALKING))
    spec = {"artifact_id": artifact["id"], "networking": {"protocol": "none"}}
    made = await client.deploy(app["id"], spec)
    async for seen in client.changes(made["id"]):
        if seen["status"] != "pending":
            break
    assert seen["status"] == "running"

    entries = []
    async for entry in client.follow(made["id"]):
        entries.append(entry)
        if len(entries) == 20:
            await client.cancel(made["id"])
    numbers = [int(found[1]) for each in entries if (found := re.fullmatch(r"line (\d+)", each["message"]))]
    assert len(numbers) >= 19
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [each["id"] async for each in client.deployments(app["id"])] == [made["id"]]
    assert {event["type"] for event in await client.events(app_id=app["id"])} >= {"deployment.done"}
    assert [task["deployment_id"] async for task in client.tasks(made["id"])] == [made["id"]]
    assert await client.delete_app(app["id"])
    with pytest.raises(Problem) as refused:
        await client.app("async-life")
    assert refused.value.code == "APP_NOT_FOUND"


async def test_many_follow_on_one_thread(client: AsyncClient, shared: Commands, tmp_path: Path) -> None:
    path = tmp_path / "talking"
    path.write_bytes(TALKING)
    made = shared.json("deploy", "async-many", "--binary", path, "--health", "/", "--no-wait")
    before = threading.active_count()

    async def first_ten() -> list[int]:
        found = []
        async for entry in client.follow(made["id"], after=0):
            if entry["stream"] == "stdout":
                found.append(entry["id"])
            if len(found) == 10:
                break
        return found

    found = await asyncio.gather(*(first_ten() for _ in range(50)))
    assert threading.active_count() <= before + 1  # the resolver's
    assert all(each == found[0] for each in found)
    await client.cancel(made["id"])


async def test_it_follows_over_a_restart_of_the_server(data_dir: Path, tmp_path: Path) -> None:
    server = Platform(data_dir, "--port", "0")
    try:
        server.start()
        port = server.api_url.rpartition(":")[2]
        client = AsyncClient(server.api_url)
        app = await client.create_app("again")
        made = await client.deploy(
            app["id"],
            {
                "artifact_id": server.artifact(TALKING),
                "networking": {"protocol": "none"},
                "idle_timeout_secs": 3600,
            },
        )
        numbers: list[int] = []
        async for entry in client.follow(made["id"], after=0):
            if found := re.fullmatch(r"line (\d+)", entry["message"]):
                numbers.append(int(found[1]))
            if len(numbers) == 30:
                server.flags = ("--port", port)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            if len(numbers) == 150:
                break
        assert numbers == list(range(1, 151))
    finally:
        await asyncio.to_thread(server.destroy)


class TestBadServers:
    """Scripted, as for the blocking client."""

    async def test_a_stream_resumes_after_the_last_whole_entry(self) -> None:
        with scripted(
            lines({"id": 1}, {"id": 2}), lines({"id": 3}, {"event": "end", "status": "cancelled"})
        ) as (client, requests):
            found = [entry["id"] async for entry in AsyncClient(client.server).follow(GONE, tail=5)]
        assert found == [1, 2, 3]
        assert b"after=2" in requests[1]

    async def test_an_answer_before_the_end_of_an_upload_is_heard(self, tmp_path: Path) -> None:
        (tmp_path / "large").write_bytes(b"x" * (32 << 20))

        def refuse(peer: socket.socket) -> None:
            peer.sendall(problem("413 Content Too Large", detail="too large", code="ARTIFACT_TOO_LARGE"))
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(1 << 20):  # else a reset overtakes the answer
                pass

        with scripted(answer("201 Created", {"id": GONE}), refuse) as (client, _):
            with pytest.raises(Problem) as refused:
                await AsyncClient(client.server, timeout=5).upload(tmp_path / "large")
            await asyncio.sleep(0)  # the loop closes the connection, for which the peer waits
        assert refused.value.code == "ARTIFACT_TOO_LARGE"

    async def test_silence_hang_ups_and_strangers(self) -> None:
        async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            said = await reader.readuntil(b"\r\n\r\n")
            if b"/version" in said:
                await reader.read()
            writer.close()

        server = await asyncio.start_server(peer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = AsyncClient(url, timeout=0.3)
        with pytest.raises(Unreachable, match=r"does not answer within 0.3 s"):
            await client.version()
        with pytest.raises(Unreachable, match="closed the connection without an answer"):
            await client.deployment(GONE)
        server.close()
        await server.wait_closed()
        with pytest.raises(Unreachable, match="cannot be reached"):
            await client.version()
        with (
            scripted(answer("200 OK", b"<h1>", "text/html")) as (stranger, _),
            pytest.raises(BadAnswer, match="is it a platformd"),
        ):
            await AsyncClient(stranger.server).version()

    async def test_what_cannot_be_read_is_a_client_error(self, tmp_path: Path) -> None:
        with pytest.raises(ClientError, match="cannot be read"):
            await AsyncClient("http://127.0.0.1:1").upload(tmp_path)


def test_the_manuals_examples_work(shared: Commands, tiny: Path, tmp_path: Path) -> None:
    """Each is run as it stands, with the server's address and the executable in the place of theirs."""
    page = (ROOT / "platformd" / "docs" / "client.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    (tmp_path / "shop").write_bytes(tiny.read_bytes())
    for number, example in enumerate(examples):
        text = example.replace("http://127.0.0.1:47080", shared.server).replace('"shop"', f'"shop{number}"')
        path = tmp_path / f"example{number}.py"
        path.write_text(text.replace('Path("build/shop")', f"Path({str(tmp_path / 'shop')!r})"))
        done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        assert "running at http://shop" in done.stdout
        assert "deployment.asleep" in done.stdout
