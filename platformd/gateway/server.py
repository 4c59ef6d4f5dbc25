"""The client's side: one `Client` per connection from the outside, one request of it under way at a time.

Reads heads and bodies, routes, hands over to `hold` or to an `Upstream`, and gives the gateway's own answers. What it
counts and frees on the way out is what keeps idleness and queues right, so every exit goes through `finished`, `cut`,
`reply` or `left`. Gateway loop thread only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from platformd.gateway import follow
from platformd.gateway.answers import Problem
from platformd.gateway.dial import dial
from platformd.gateway.framing import SAFE_METHODS, Answer
from platformd.gateway.reading import DIALING, FOLLOWING, GONE, HELD, IDLE, LINGER, SENT, TUNNEL, Reader
from platformd.gateway.routes import LEFT, UNLIMITED, Deployment, Task
from platformd.gateway.rules import wakes_nothing
from platformd.gateway.sockets import has_left, reset

if TYPE_CHECKING:
    from platformd.gateway.upstream import Upstream


class Client(Reader):
    """One connection from the outside, as far as requests and answers go."""

    __slots__ = ()

    # The way of a request

    def dispatch(self) -> None:
        """Route the request: to a task, into the queue, or to an answer of our own."""
        gateway = self.gateway
        if self.target == follow.PATH and gateway.followers.asked_by(self):
            self._follow()
            return
        route = gateway.table.hosts.get(self.block.host)
        if route.__class__ is not Deployment:
            self.deployment = None
            if route is not None:
                self.reply(Problem.no_deployment(route))  # type: ignore[arg-type]
            elif gateway.table.synced:
                self.reply(Problem(404, "NO_HOST", f"No app answers to {self.block.host.decode()!r} here."))
            else:
                gateway.hold.add(self, gateway.hold.unknown)
            return
        self.deployment = route
        if route.config.no_wake:
            self.passive = wakes_nothing(route.config.no_wake, self.target, self.block.forward)
        if not route.held:
            while (task := route.pick()) is not None:
                if self.send_to(task):
                    return
            if not route.tasks and not route.config.wakeable:
                self.reply(Problem.refusal(route.config.refusal))
                return
        if self.passive and not route.tasks:
            self.reply(Problem.asleep(route.state))
            return
        gateway.hold.add(self, route)

    def _follow(self) -> None:
        """Hear of a wake; the last answer of this connection."""
        self.state = FOLLOWING
        self.deployment = None
        self.closing = True
        self.gateway.followers.add(self)

    def hold(self, deployment: Deployment) -> None:
        """It is in the queue now."""
        self.state = HELD
        self.deployment = deployment
        if len(self.inbox) >= self.gateway.hold.allowance():
            self.pause_reading()

    def send_to(self, task: Task) -> bool:
        """Give the request to `task`; False when the task refuses, and then nothing was done."""
        deployment = task.deployment
        self.task = task
        task.inflight += 1
        deployment.inflight += 1
        if self.passive:
            deployment.passive += 1
        if deployment.counts is None:
            self.gateway.starts_counting(deployment)
        if task.idle:
            upstream = task.idle.pop()
            if self.method in SAFE_METHODS or not has_left(upstream.transport):
                self.start(upstream)
                return True
            upstream.close()
        self.state = DIALING
        if dial(self.gateway, task, self):
            return True
        self._unassign(task)
        return False

    def start(self, upstream: Upstream) -> None:
        """The connection is there: send the head and what there is of the body."""
        block = self.block
        self.state = SENT
        self.since = self.gateway.now
        self.upstream = upstream
        upstream.client = self
        self.plain = block.plain and not (
            self.wake_took or self.unread or self.method == b"HEAD" or self.gateway.stopping
        )
        upstream.transport.write(
            b"%b %b HTTP/1.1\r\n%bX-Request-Id: %b\r\n\r\n"
            % (self.method, self.target, block.forward, self.request_id)
        )
        if self.unread:
            self.resume_reading()
            data, self.inbox = self.inbox, b""
            self.pass_body(data)

    def unreached(self) -> None:
        """The task could not be connected to after all; nothing was sent, so the request queues again."""
        task = self.task
        assert task is not None
        self._unassign(task)
        self.gateway.hold.put_back(self, task.deployment)
        self.gateway.hold.settle(task.deployment)

    def _unassign(self, task: Task) -> None:
        if self.stream:
            self.stream = False
            task.streams -= 1
        self.task = self.upstream = self.dialing = None
        task.inflight -= 1
        task.deployment.inflight -= 1
        if self.passive:
            task.deployment.passive -= 1
        if not task.open:
            self.gateway.activity.left(task)

    # Answers

    def write(self, parts: Iterable[bytes]) -> None:
        """Bytes to the client."""
        self.transport.write(b"".join(parts))

    def head_of(self, answer: Answer, *, until_close: bool, bodiless: bool) -> bytes:
        """The head to send for the app's answer; from here on no other answer can be given."""
        block = self.block
        self.answered = True
        unframed = until_close or (answer.chunked and block.http10 and not bodiless)
        self.closing = block.close or unframed or self.unread or self.gateway.stopping
        parts = [answer.out]
        if answer.chunked and not bodiless and not block.http10:
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if not answer.has_id:
            parts.append(b"X-Request-Id: %b\r\n" % self.request_id)
        if self.wake_took:
            parts.append(b"Server-Timing: wake;dur=%.1f\r\n" % (self.wake_took * 1000))
        if self.closing:
            parts.append(b"Connection: close\r\n")
        elif block.http10:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def finished(self, task: Task, kind: int) -> None:
        """The exchange is over and well; on to the next request or the end."""
        deployment = task.deployment
        if self.stream:
            self.stream = False
            task.streams -= 1
        task.inflight -= 1
        deployment.inflight -= 1
        if self.passive:
            deployment.passive -= 1
        if deployment.counts is None:
            self.gateway.starts_counting(deployment)
        deployment.counts[kind] += 1  # type: ignore[index]
        if task.window != UNLIMITED:
            task.widen()
        self.upstream = self.task = None
        self.state = IDLE
        self.since = self.gateway.now
        if deployment.held:
            self.gateway.hold.pump(deployment)
        elif deployment.inflight == deployment.passive and not self.passive:
            self.gateway.activity.ended(deployment)
        if not task.open:
            self.gateway.activity.left(task)
        if self.closing:
            self.end()
            return
        if self.paused:
            self.resume_reading()
        if self.inbox:
            self.advance()

    def reply(self, problem: Problem) -> None:
        """Answer in the app's stead. The request is in no queue and with no task."""
        if self.deployment is not None:
            self.gateway.count(self.deployment, problem.status // 100)
        self.state = IDLE
        self.since = self.gateway.now
        self.read_out()
        self.closing = self.closing or self.block.close or self.unread or self.gateway.stopping
        page = self.method == b"GET" and self.block.navigate
        self.transport.write(
            problem.render(
                self.request_id,
                full=self.gateway.full_errors,
                page=page,
                close=self.closing,
                body=self.method != b"HEAD",
            )
        )
        if self.closing:
            self.end()
            return
        self.resume_reading()
        self.advance()

    def fail(self, problem: Problem) -> None:
        """The exchange with the app failed before it answered."""
        task, upstream = self.task, self.upstream
        assert task is not None
        self.gateway.log.warning(
            "request failed", code=problem.code, task_id=task.id, request_id=self.request_id.decode()
        )
        if upstream is not None:
            upstream.abandon()
        self._unassign(task)
        self._settle(task)
        self.reply(problem)

    def cut(self, kind: int) -> None:
        """The answer broke off in the middle: the client must see that it is not whole."""
        task = self.task
        assert task is not None
        self.state = GONE
        reset(self.transport)
        self.gateway.count(task.deployment, kind)
        self._release(task)

    def upstream_closed(self, *, repeatable: bool) -> None:
        """The app closed before its answer began. `repeatable`: it may never have seen the request, because a pooled
        connection was too old, or because a dying app's listener outlived what it had accepted by a moment."""
        may_repeat = self.method in SAFE_METHODS and not self.block.has_body and not self.retried
        if repeatable and may_repeat:
            assert self.task is not None
            self.retried = True
            self.upstream = None
            self.state = DIALING
            if not dial(self.gateway, self.task, self):
                self.unreached()
            return
        self.upstream = None
        self.fail(Problem(502, "UPSTREAM_CLOSED", "The app closed the connection before it answered."))

    def upstream_broken(self, why: str) -> None:
        """The app's answer is not HTTP."""
        self.upstream = None
        self.fail(Problem(502, "UPSTREAM_CLOSED", f"The app's answer is not well-formed HTTP/1.1: {why}."))

    def open_tunnel(self, answer: Answer, rest: bytes) -> None:
        """The app agreed to switch protocols: from here on bytes pass as they are, both ways."""
        self.state = TUNNEL
        self.stream = self.answered = True
        self.resume_reading()
        self.write((answer.out, b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", rest))
        if self.inbox:
            assert self.upstream is not None
            data, self.inbox = self.inbox, b""
            self.upstream.transport.write(data)

    def tunnel_ended(self) -> None:
        """The app closed the tunnel."""
        assert self.task is not None
        self.state = GONE
        self.transport.close()
        self.gateway.count(self.task.deployment, 1)
        self._release(self.task)

    # Ends

    def spoiled(self, problem: Problem) -> None:
        """What the client or the clock did makes the exchange impossible."""
        assert self.upstream is not None and self.task is not None
        if self.answered:
            self.upstream.abandon()
            self.cut(5)
        else:
            self.closing = True
            self.fail(problem)

    def end(self) -> None:
        """The last answer of this connection is written."""
        if not self.unread or self.transport.is_closing():
            self.state = GONE
            self.transport.close()
            return
        # Closing with bytes unread would reset the connection and may cost the client its answer.
        self.state = LINGER
        self.since = self.gateway.now
        self.resume_reading()
        self.transport.write_eof()

    def left(self) -> None:
        """The client is gone, whatever was under way for it is of no use."""
        state, self.state = self.state, GONE
        self.gateway.heads.pop(self, None)
        self.gateway.paused.discard(self)
        if state == HELD:
            assert self.deployment is not None
            self.gateway.hold.remove(self, self.deployment)
            self.gateway.count(self.deployment, LEFT)
        elif state == FOLLOWING:
            self.gateway.followers.remove(self)
        elif state in (DIALING, SENT, TUNNEL):
            self._leave_exchange(state)

    def _leave_exchange(self, state: int) -> None:
        task, upstream, dialing = self.task, self.upstream, self.dialing
        assert task is not None
        if dialing is not None:
            dialing.client = None
        elif upstream is not None and state == DIALING:
            upstream.client = None
        elif upstream is not None and state == TUNNEL:
            upstream.client = None
            upstream.close()
        elif upstream is not None:
            upstream.abandon()
        self.gateway.count(task.deployment, LEFT if not self.answered else 2 if state == SENT else 1)
        self._release(task)

    def _release(self, task: Task) -> None:
        """The place at the task is free again, without an answer having shown that the task can take more."""
        self._unassign(task)
        self._settle(task)

    def _settle(self, task: Task) -> None:
        deployment = task.deployment
        if deployment.held:
            self.gateway.hold.pump(deployment)
        elif deployment.inflight == deployment.passive and not self.passive:
            self.gateway.activity.ended(deployment)
