"""What GitHub sends, and what came of it.

A delivery is believed by its signature alone. It is answered as soon as it is stored together with the builds it asks
for; whatever takes longer comes after the answer.
"""

from __future__ import annotations

import re

from handlers import answers_webhooks as answers
from handlers.answers import Page
from handlers.base import Handler
from handlers.operation import Content, Scope, operation
from handlers.paging import page_of
from handlers.schemas_webhooks import DeliveriesQuery
from handlers.sources import on_thread
from handlers.triggers import spec_to_deploy
from platformd.domain.snapshot import App, Reason
from platformd.domain.source import Source, sealed_for
from platformd.domain.spec import DeploymentSpec, promoted
from platformd.domain.webhook import Delivery, PullRequest
from platformd.errors import Malformed, PlatformError, Unauthenticated
from platformd.github import read_delivery, repository_of, signed_by, unwrapped
from platformd.secrets import SecretUnreadable

LONGEST_PAYLOAD = 25 << 20
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_GUID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_EVENT = re.compile(r"[a-z0-9_]{1,64}\Z")
FROM_GITHUB = Content((_JSON, _FORM))


class GitHubWebhookHandler(Handler):
    """`/webhooks/github`."""

    @operation(
        "Receive a webhook of GitHub",
        None,
        body=FROM_GITHUB,
        answers={200: answers.WebhookAnswer, 202: answers.WebhookAnswer},
        problems=("401 SIGNATURE_INVALID", "503 SECRET_UNREADABLE"),
    )
    async def post(self) -> None:
        """Needs no token: `X-Hub-Signature-256` must be right for the webhook secret of an app whose source names the
        repository. 202 once every verdict is stored, 200 when `X-GitHub-Delivery` was answered before; then nothing
        happens a second time."""
        self.no_query()
        payload, senders = await on_thread(self._believed)
        delivery = await on_thread(self._read, payload)
        specs = {app.id: self._spec(app, source, delivery) for app, source in senders}
        received = await self.durable(self.context.hooks.accept(delivery, specs))
        verdicts = self.read(self.context.webhooks.render, received)
        status = 200 if all(one.known for one in received) else 202
        self.answer({"delivery": delivery.guid, "verdicts": verdicts}, status)

    def _believed(self) -> tuple[bytes, list[tuple[App, Source]]]:
        """The payload, and the apps whose secret signed it."""
        media_type = getattr(self.request, "media_type", "").partition(";")[0].strip().lower()
        if media_type not in FROM_GITHUB.types:
            raise PlatformError(
                f"send the payload as {_JSON} or {_FORM}", code="UNSUPPORTED_MEDIA_TYPE", status=415
            )
        payload = unwrapped(self.payload, is_form=media_type == _FORM)
        repository = repository_of(payload)
        named = self.context.webhooks.senders(repository) if repository is not None else []
        return payload, self._signers(named)

    def _signers(self, named: list[tuple[App, Source]]) -> list[tuple[App, Source]]:
        """Those of `named` whose secret signed this. A secret that cannot be read troubles no other app; where nobody
        else signed, it may have been that one's."""
        signature = self.request.headers.get("X-Hub-Signature-256", "")
        signers, unreadable = [], None
        for app, source in named:
            try:
                secret = self.context.vault.unseal(
                    source.webhook_secret or "", context=sealed_for(app.id, "webhook_secret")
                )
            except SecretUnreadable as error:
                unreadable = error
                continue
            if signed_by(secret, self.payload, signature):
                signers.append((app, source))
        if signers:
            return signers
        raise unreadable or Unauthenticated(
            "X-Hub-Signature-256 is not right for any app whose source names this repository: give the hook at GitHub "
            "and the source of the app the same secret",
            code="SIGNATURE_INVALID",
        )

    def _read(self, payload: bytes) -> Delivery:
        return read_delivery(
            self._header("X-GitHub-Delivery", _GUID), self._header("X-GitHub-Event", _EVENT), payload
        )

    def _header(self, name: str, sane: re.Pattern[str]) -> str:
        given = self.request.headers.get(name, "")
        if not sane.match(given):
            raise Malformed(f"the header {name} is {given[:80]!r}; GitHub sends one with every delivery")
        return given

    def _spec(self, app: App, source: Source, delivery: Delivery) -> DeploymentSpec | Reason:
        """What the app deploys, or why it cannot. A preview runs beside others: its port is the platform's choice."""
        settings = self.context.settings
        try:
            spec = spec_to_deploy(self.context.views.render_app(app), source, source.environment, settings)
        except PlatformError as error:
            message = f"the default_deployment_spec of the app cannot be deployed: {error.message}"
            return Reason(code=error.code, message=message)
        return promoted(spec, elsewhere=isinstance(delivery.happening, PullRequest))


class DeliveriesHandler(Handler):
    """`/apps/:id/webhook-deliveries`."""

    @operation(
        "List what GitHub sent for an app",
        Scope.READ,
        query=DeliveriesQuery,
        answers={200: Page[answers.WebhookDelivery]},
        problems=("404 APP_NOT_FOUND",),
    )
    def get(self, app_id: str) -> None:
        """Each with what was made of it, newest first; kept for 30 days."""
        self.answer(self.read(self.context.webhooks.deliveries, app_id, page_of(self.query(DeliveriesQuery))))
