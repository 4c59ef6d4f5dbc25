"""The client as a library: uploads, refusals, following; against a real server, and against ones that misbehave."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from platformd.client import BadAnswer, Client, ClientError, NotNamed, Problem, Unreachable, is_missing_app
from platformd.client.uploads import OutgoingFile
from tests.cli.commands import Commands

GONE = "00000000-0000-4000-8000-000000000000"


@contextmanager
def scripted(*answers: bytes | Callable[[socket.socket], None]) -> Iterator[tuple[Client, list[bytes]]]:
    """A client of a server that gives these answers, one a connection; and the requests it got."""
    requests: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for answer in answers:
            peer, _ = listener.accept()
            with peer:
                said = b""
                while b"\r\n\r\n" not in said:
                    said += peer.recv(65536)
                requests.append(said)
                if callable(answer):
                    answer(peer)
                else:
                    peer.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=5, patience=5), requests
        thread.join(20)
        assert not thread.is_alive(), f"only {len(requests)} of {len(answers)} requests came"


def answer(status: str, body: Any, kind: str = "application/json", **headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(raw)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def problem(status: str, **fields: Any) -> bytes:
    document = {"status": int(status[:3]), "detail": "no", "code": "NO", **fields}
    return answer(status, document, "application/problem+json", Retry_After="7")


def lines(*entries: dict[str, Any]) -> bytes:
    body = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    return answer("200 OK", body, "application/x-ndjson")


class TestUploads:
    def test_bytes_arrive_and_progress_is_told(self, shared: Commands, tmp_path: Path) -> None:
        content = b"\x7fELF" + bytes(range(256)) * 8192
        (tmp_path / "binary").write_bytes(content)
        told: list[tuple[int, int]] = []
        made = Client(shared.server).upload(
            tmp_path / "binary", progress=lambda sent, total: told.append((sent, total))
        )
        assert (made["name"], made["size"]) == ("binary", len(content))
        assert made["sha256"] == hashlib.sha256(content).hexdigest()
        assert len(told) > 4
        assert told == sorted(told)
        assert told[-1] == (len(content), len(content))

    def test_a_file_that_grows_is_sent_as_it_was(self, shared: Commands, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"a" * 100_000)

        def grow(_sent: int, _total: int) -> None:
            with path.open("ab") as file:
                file.write(b"b" * 10)

        made = Client(shared.server).upload(path, progress=grow)
        assert made["sha256"] == hashlib.sha256(b"a" * 100_000).hexdigest()

    def test_a_file_that_shrinks_is_said_to(self, tmp_path: Path) -> None:
        path = tmp_path / "binary"
        path.write_bytes(b"a" * 100_000)
        with OutgoingFile(path, lambda _sent, _total: None) as file:
            assert len(file.block(50_000)) == 50_000
            path.write_bytes(b"")
            with pytest.raises(ClientError, match="became shorter"):
                file.block(50_000)

    def test_an_empty_file_and_one_that_cannot_be_read(self, shared: Commands, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        assert Client(shared.server).upload(tmp_path / "empty")["size"] == 0
        with pytest.raises(ClientError, match="cannot be read"):
            Client(shared.server).upload(tmp_path)

    def test_an_answer_before_the_end_is_heard(self, tmp_path: Path) -> None:
        """As for what is too large: the server answers and hangs up while we still send."""
        (tmp_path / "large").write_bytes(b"x" * (8 << 20))

        def refuse(peer: socket.socket) -> None:
            peer.sendall(problem("413 Content Too Large", detail="too large", code="ARTIFACT_TOO_LARGE"))
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(1 << 20):  # else a reset overtakes the answer
                pass

        made = answer("201 Created", {"id": GONE})
        with (
            scripted(made, refuse) as (client, _),
            pytest.raises(Problem) as refused,
        ):
            client.upload(tmp_path / "large")
        assert refused.value.code == "ARTIFACT_TOO_LARGE"


class TestRefusals:
    def test_a_problem_has_all_that_came(self) -> None:
        faults = [{"pointer": "/a", "message": "must be b"}, {"pointer": "/c", "message": "is unknown"}]
        body = problem("422 Unprocessable Content", errors=faults, detail="2 faults", request_id="r")
        with scripted(body) as (client, _), pytest.raises(Problem) as refused:
            client.version()
        error = refused.value
        assert (error.status, error.code, error.retry_after, error.request_id) == (422, "NO", 7, "r")
        assert error.faults == (("/a", "must be b"), ("/c", "is unknown"))
        assert str(error) == "2 faults (NO)\n/a: must be b\n/c: is unknown"

    @pytest.mark.parametrize(
        "body",
        [
            answer("404 Not Found", b"<h1>", "text/html"),
            answer("500 Oops", b"{", "application/problem+json"),
            answer("500 Oops", [1], "application/problem+json"),
            answer("200 OK", b"<h1>", "text/html"),
        ],
    )
    def test_what_is_no_platformd(self, body: bytes) -> None:
        with (
            scripted(body) as (client, _),
            pytest.raises(BadAnswer, match=r"is it a platformd|cannot be read"),
        ):
            client.version()

    def test_silence_is_unreachable(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2)
            with pytest.raises(Unreachable, match=r"does not answer within 0.2 s"):
                client.version()

    def test_a_missing_app_is_told_from_other_refusals(self, shared: Commands) -> None:
        client = Client(shared.server)
        for name in ("nope", "team/nope", GONE):
            with pytest.raises(Problem) as refused:
                client.app(name)
            assert is_missing_app(refused.value)
        with pytest.raises(Problem) as refused:
            client.deployment(GONE)
        assert not is_missing_app(refused.value)
        with pytest.raises(NotNamed):
            client.app("a/b/c")

    @pytest.mark.parametrize("server", ["", "ftp://x", "http://", "http://h:1?x=1", "://"])
    def test_what_is_no_address(self, server: str) -> None:
        with pytest.raises(ValueError, match="address of a server"):
            Client(server)

    def test_the_token_goes_into_each_request_and_no_error(self) -> None:
        with scripted(problem("401 Unauthorized")) as (client, requests):
            client = Client(client.server, token="s3cret")
            with pytest.raises(Problem) as refused:
                client.version()
        assert b"Authorization: Bearer s3cret\r\n" in requests[0]
        assert "s3cret" not in str(refused.value)


class TestFollowing:
    def test_changes_go_on_over_a_server_that_comes_back(self) -> None:
        first, second = ({"revision": number, "phase": "x"} for number in (3, 4))
        with scripted(
            answer("200 OK", first),
            b"",
            problem("503 Service Unavailable", code="RECOVERING"),
            answer("200 OK", first),
            answer("200 OK", second),
        ) as (client, requests):
            changes = client.changes(GONE)
            assert [next(changes)["revision"], next(changes)["revision"]] == [3, 4]
        assert b"?" not in requests[0].split(b"\r\n")[0]
        assert all(b"wait=30s&revision=3" in request for request in requests[1:])

    def test_changes_end_with_what_is_no_restart(self) -> None:
        gone = problem("404 Not Found", code="DEPLOYMENT_NOT_FOUND")
        with scripted(answer("200 OK", {"revision": 1}), gone) as (client, _):
            changes = client.changes(GONE)
            next(changes)
            with pytest.raises(Problem):
                next(changes)

    def test_a_server_that_stays_away_is_unreachable(self) -> None:
        with scripted(answer("200 OK", {"revision": 1})) as (client, _):
            changes = Client(client.server, patience=0.1).changes(GONE)
            next(changes)
        with pytest.raises(Unreachable):
            next(changes)

    def test_a_stream_resumes_after_the_last_whole_entry(self) -> None:
        cut = answer("200 OK", b"", "application/x-ndjson").replace(
            b"Content-Length: 0", b"Connection: close"
        )
        broken_off = cut + b'{"id": 1}\n\n{"id": 2}\n{"id": 3'
        slow = {"event": "gap", "code": "SLOW_READER", "detail": "slow"}
        old = {"event": "gap", "code": "NOT_KEPT", "detail": "no longer kept"}
        gaps: list[str] = []
        with scripted(
            broken_off,
            lines({"id": 3}, slow),
            lines({"event": "shutdown", "detail": "the server stops; reconnect"}),
            lines(old, {"id": 9}, {"event": "end", "status": "cancelled"}),
        ) as (client, requests):
            found = [entry["id"] for entry in client.follow(GONE, tail=5, on_gap=gaps.append)]
        assert found == [1, 2, 3, 9]
        assert gaps == ["no longer kept"]
        asked = [request.split()[1].split(b"?")[1] for request in requests]
        assert asked == [b"tail=5", b"after=2", b"after=3", b"after=3"]
        assert all(b"Accept: application/x-ndjson\r\n" in request for request in requests)

    def test_stored_entries_are_read_over_a_restart(self) -> None:
        pages = (
            answer("200 OK", [{"id": 1}, {"id": 2}]),
            b"",
            answer("200 OK", [{"id": 3}]),
            answer("200 OK", []),
        )
        with scripted(*pages) as (client, requests):
            assert [entry["id"] for entry in client.logs(GONE, since="1h")] == [1, 2, 3]
        asked = [request.split()[1].split(b"?")[1] for request in requests]
        assert asked == [f"since=1h&after={number}&limit=1000".encode() for number in (0, 2, 2, 3)]

    def test_a_stream_that_is_over_ends(self) -> None:
        over = b"HTTP/1.1 204 No Content\r\n\r\n"
        with scripted(over) as (client, _):
            assert list(client.follow(GONE, after=7)) == []

    def test_a_stream_that_never_was_is_given_up(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(Unreachable):
            next(Client(server, patience=0.1).follow(GONE))
