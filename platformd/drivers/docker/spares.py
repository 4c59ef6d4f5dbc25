"""Containers made beforehand: when a task of a sleeping deployment has ended, the next one's is created at once, under
the id that task is going to have. A wake is then one `start`.

`next_id` is called by the deployment's actor, `claim` by a start; both look at what is known here and ask nobody. The
rest works in the driver's workers. A spare is never relied upon: whoever finds it gone or outdated makes the container
as if there had been none.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from platformd import clock
from platformd.drivers.base import LaunchOrder
from platformd.drivers.docker.containers import DEPLOYMENT, SLOT, TASK
from platformd.drivers.docker.creations import Creation, Creations
from platformd.drivers.docker.engine import EngineAway, EngineError
from platformd.drivers.docker.images import Images, PullFailed
from platformd.drivers.launch_order import Refused
from platformd.errors import PlatformError
from platformd.ids import new_id
from platformd.observability import get_logger

MOST = 200
PROMISED_SECS = 60.0
_log = get_logger("docker")

Place = tuple[str, int]
"""Deployment and slot."""


@dataclass(frozen=True, slots=True)
class Spare:
    """A container in wait for the task `task_id`; `promised` is when that id was given out."""

    task_id: str
    made: Creation
    promised: float | None = None

    @property
    def is_promised(self) -> bool:
        return self.promised is not None and clock.monotonic() - self.promised < PROMISED_SECS


NextOrder = Callable[[str, int, str], LaunchOrder | None]
"""Takes (deployment id, slot, task id): what would start that task, None when the deployment does not sleep."""


class Spares:
    """`remove` takes a container away."""

    def __init__(
        self, next_order: NextOrder, images: Images, creations: Creations, remove: Callable[[str], object]
    ) -> None:
        self._next_order, self._remove = next_order, remove
        self._images, self._creations = images, creations
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Place, Spare] = OrderedDict()
        self._making: set[Place] = set()
        self._ended = False

    def next_id(self, deployment_id: str, slot: int) -> str:
        """The id for that slot's next task. Given out once: what becomes of it is the asker's business."""
        place = (deployment_id, slot)
        with self._lock:
            spare = self._waiting.get(place)
            if spare is None or spare.promised is not None:
                return new_id()
            self._waiting[place] = replace(spare, promised=clock.monotonic())
            return spare.task_id

    def claim(self, order: LaunchOrder) -> Creation | None:
        """What was made for this very task, if it is as it would be made now. It is nobody else's from now on."""
        place = (order.deployment_id, order.slot)
        with self._lock:
            spare = self._waiting.get(place)
            if spare is None or spare.task_id != order.task_id:
                return None
            del self._waiting[place]
        return spare.made if self._creations.fits(spare.made, order) else None

    def prepare(self, deployment_id: str, slot: int) -> None:
        """A task of it ends: make the next one's container if it sleeps."""
        place = (deployment_id, slot)
        with self._lock:
            if place in self._waiting or place in self._making:
                return
            self._making.add(place)
        try:
            order = self._order(deployment_id, slot, new_id())
            made = None if order is None else self._make(order)
            if order is not None and made is not None:
                self._keep(place, Spare(order.task_id, made))
        finally:
            self._making.discard(place)

    def put_away(self) -> None:
        """Remove them all, and what is still being made."""
        self._ended = True
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), OrderedDict()
        for spare in waiting:
            self._remove(spare.made.container)

    def knows(self, found: Mapping[str, Any]) -> bool:
        """Whether a container that belongs to no task, by the engine's list, is one in wait and goes on to be: one of
        ours, or one that an earlier server has left for a deployment that still sleeps."""
        labels = found.get("Labels") or {}
        if found.get("State") != "created" or not str(labels.get(SLOT, "")).isdigit():
            return False
        place, task_id = (str(labels.get(DEPLOYMENT)), int(labels[SLOT])), str(labels.get(TASK))
        with self._lock:
            spare = self._waiting.get(place)
        if spare is not None:
            if spare.task_id != task_id:
                return False
            return spare.is_promised or self._wanted(place, spare)
        order = self._order(*place, task_id)
        made = None if order is None else self._make(order)
        if made is None:
            return False
        self._keep(place, Spare(task_id, made))
        return bool(made.container == found["Id"])

    def _wanted(self, place: Place, spare: Spare) -> bool:
        """Still what the next start would want. What is not goes, and is made anew when it is wanted."""
        order = self._order(*place, spare.task_id)
        if order is not None and spare.promised is None and order.image_digest == spare.made.image.digest:
            return True
        with self._lock:
            if self._waiting.get(place) is spare:
                del self._waiting[place]
        return False

    def _order(self, deployment_id: str, slot: int, task_id: str) -> LaunchOrder | None:
        try:
            order = self._next_order(deployment_id, slot, task_id)
            return None if order is None or order.spec.image is None else order
        except PlatformError as error:  # a secret that cannot be read, say: its start will tell
            _log.debug("no container is made beforehand", deployment_id=deployment_id, detail=str(error))
            return None

    def _make(self, order: LaunchOrder) -> Creation | None:
        try:
            image = self._images.find(order)
            return None if image is None else self._creations.create(order, image)
        except (EngineAway, EngineError, PullFailed, Refused) as error:
            _log.debug("no container is made beforehand", task_id=order.task_id, detail=str(error))
            return None

    def _keep(self, place: Place, spare: Spare) -> None:
        with self._lock:
            before = self._waiting.pop(place, None)
            self._waiting[place] = spare
            surplus = self._waiting.popitem(last=False)[1] if len(self._waiting) > MOST else None
        for one in (before, surplus):
            if one is not None and one.made.container != spare.made.container:
                self._remove(one.made.container)
        if self._ended:
            self.put_away()
