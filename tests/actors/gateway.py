"""A gateway as small as actors need it: the real table, no sockets. Holds, wakes and answers Close at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from platformd.gateway import protocol
from platformd.gateway.routes import Table

Report = dict[str, Any]


class SmallGateway:
    """Every order goes over the wire's encoding. `busy` are deployments with a request in flight."""

    def __init__(self) -> None:
        self.pid = 100
        self.tell: Callable[[Report], None] = lambda _: None
        self.table = Table()
        self.heard: list[Any] = []
        self.busy: set[str] = set()
        self.answers = True
        self.connected = False
        self._later: list[Any] = []
        self.held: dict[str, list[Any]] = {}

    # Serve's end

    def obey(self, message: Any) -> None:
        if not self.connected:
            self._later += [message] if isinstance(message, protocol.Close) else []
            return
        order = protocol.decode_order(protocol.encode(message))
        self.heard.append(order)
        match order:
            case protocol.Reset():
                self.table.reset(order.epoch)
            case protocol.Routes():
                for deployment in self.table.apply(order):
                    self._settle(deployment.id)
            case protocol.Targets():
                self.table.retarget(order)
                self._settle(order.deployment)
            case protocol.Synced():
                self.table.swap()
            case protocol.WakeFailed():
                self._answer(order.deployment, order.code)
            case protocol.Close() if self.answers:
                self._close(order)

    def come(self, activity: dict[str, int | None] | None = None) -> None:
        """Connect, or again; what it held stays held and is woken for anew."""
        self.connected = True
        self.tell({"op": "hello", "pid": self.pid, "epoch": 0, "activity": activity or {}})
        later, self._later = self._later, []
        for order in later:  # as the link does, which puts to the next gateway what none has answered
            self.obey(order)
        for deployment in [*self.held]:
            self._wake(deployment)

    def replaced(self) -> None:
        """Another process comes: it knows nothing, and nobody waits in it."""
        self.pid += 1
        self.table = Table()
        self.heard, self.held, self.busy = [], {}, set()
        self.come()

    # Clients' end

    def request(self, deployment_id: str) -> list[Any]:
        """Ask for a page. The list gets the task's id or the code of a refusal, once there is an answer."""
        answer: list[Any] = []
        self.held.setdefault(deployment_id, []).append(answer)
        if not self._settle(deployment_id) and len(self.held[deployment_id]) == 1:
            self._wake(deployment_id)
        return answer

    def time_out(self, deployment_id: str) -> None:
        """Whoever is held has waited for as long as a wake may last."""
        self._answer(deployment_id, "WAKE_TIMEOUT")

    def leads_to(self, host: str) -> Any:
        """The id of a deployment, a HostRefusal, or None for an unknown host."""
        found = self.table.hosts.get(host.encode())
        return getattr(found, "id", found)

    def open_tasks(self, deployment_id: str) -> list[str]:
        return [task.id for task in self.table.deployments[deployment_id].tasks]

    def of(self, kind: type) -> list[Any]:
        """The orders of one kind that came."""
        return [order for order in self.heard if isinstance(order, kind)]

    def _wake(self, deployment_id: str) -> None:
        self.tell({"op": "wake", "deployment": deployment_id, "held": 1})

    def _settle(self, deployment_id: str) -> bool:
        """Release or refuse whoever is held; True when that could be done."""
        deployment = self.table.deployments.get(deployment_id)
        if deployment is None:
            return False
        if deployment.tasks:
            self._answer(deployment_id, deployment.tasks[0].id)
        elif not deployment.config.wakeable:
            refusal = deployment.config.refusal
            self._answer(deployment_id, refusal.code if refusal else None)
        else:
            return False
        return True

    def _answer(self, deployment_id: str, answer: Any) -> None:
        for waiting in self.held.pop(deployment_id, ()):
            waiting.append(answer)

    def _close(self, order: protocol.Close) -> None:
        report = {"deployment": order.deployment, "tasks": order.tasks, "mode": order.mode}
        if order.mode == "idle" and order.deployment in self.busy:
            self.tell({"op": "busy", **report})
            return
        self.table.deployments[order.deployment].take_out(set(order.tasks))
        self.tell({"op": "closed", **report})
