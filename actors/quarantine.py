"""Writes down that a deployment's actor failed too often: its row says so, and its requests are refused.

Called by the supervisor on a pool thread, after the mailbox stopped taking messages.
"""

from __future__ import annotations

from dataclasses import replace

from actors.messages import Key
from actors.supervisor import Failure
from platformd import clock
from platformd.domain.deployment.state import Phase
from platformd.domain.notice import Notice
from platformd.domain.snapshot import Reason
from platformd.store import Store


class Quarantine:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, key: Key, failure: Failure) -> None:
        deployment = self._store.deployment(key.id) if key.kind == "deployment" else None
        if deployment is None:
            return
        reason = Reason(
            code="QUARANTINED",
            message=f"its actor failed too often, last with {failure.error}; resume it once the cause is gone",
        )
        revision = deployment.revision + 1
        held = replace(
            deployment, phase=Phase.QUARANTINED, reason=reason, revision=revision, updated_at=clock.steady()
        )
        notice = Notice(
            kind="deployment",
            type="deployment.quarantined",
            app_id=deployment.identity.app_id,
            deployment_id=deployment.id,
            task_id=None,
            revision=revision,
            data={"reason": reason.message},
        )
        self._store.save_behind(held, (notice,))
