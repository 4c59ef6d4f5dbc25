"""How many requests there are at once for each autoscaled deployment, on average over the last seconds.

Looked at by the gateway's ticker ten times a second; what it finds goes into each report of load while the deployment
has tasks or is being woken. One that nobody has asked for in a while is left alone. Gateway loop thread only.
"""

from __future__ import annotations

from collections import deque

from platformd.gateway.routes import Deployment

RECENT_SECS = 3
STEADY_SECS = 30
# With nothing to count it goes on for so long, so that serve, which waits before it ends tasks, hears of it.
LASTING_SECS = 90


class _Meter:
    """Averages of whole seconds, newest last, and the sum of the second that runs."""

    def __init__(self) -> None:
        self.seconds: deque[float] = deque(maxlen=STEADY_SECS)
        self.sum = self.looks = self.empty_for = 0

    def second_over(self) -> None:
        if self.looks:
            self.empty_for = 0 if self.sum else self.empty_for + 1
            self.seconds.append(self.sum / self.looks)
            self.sum = self.looks = 0

    def demand(self) -> tuple[float, float]:
        recent = [*self.seconds][-RECENT_SECS:]
        return _mean(recent), _mean([*self.seconds])


class Demand:
    """The meters of all autoscaled deployments in use."""

    def __init__(self) -> None:
        self._meters: dict[Deployment, _Meter] = {}

    def watch(self, deployment: Deployment) -> None:
        """It is in use."""
        if deployment not in self._meters:
            self._meters[deployment] = _Meter()

    def look(self) -> None:
        """Each tick: count what there is now."""
        for deployment, meter in self._meters.items():
            meter.sum += deployment.inflight + len(deployment.held or ())
            meter.looks += 1

    def take(self) -> dict[Deployment, tuple[float, float]]:
        """Each second: requests at once over 3 s and over 30 s."""
        for deployment, meter in [*self._meters.items()]:
            meter.second_over()
            if meter.empty_for > LASTING_SECS or not deployment.config.autoscaled:
                del self._meters[deployment]
        return {
            deployment: meter.demand()
            for deployment, meter in self._meters.items()
            if deployment.tasks or deployment.held
        }


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 3) if values else 0.0
