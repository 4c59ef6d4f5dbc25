"""Custom domains and registry credentials of an app."""

from __future__ import annotations

from handlers import answers_configuration as answers
from handlers import schemas_configuration as schemas
from handlers.base import Handler
from handlers.operation import Scope, operation
from handlers.specs import invalid
from handlers.validation import collect
from platformd import clock
from platformd.domain.configuration import AddDomain, RemoveDomain, RemoveRegistry, SetRegistry
from platformd.domain.registries import canonical, sealed_for
from platformd.errors import Fault

_NO_APP = "404 APP_NOT_FOUND"


class DomainsHandler(Handler):
    """`/apps/:id/custom-domains`."""

    @operation(
        "List the custom domains of an app",
        Scope.READ,
        answers={200: answers.CustomDomains},
        problems=(_NO_APP,),
    )
    def get(self, app_id: str) -> None:
        self.no_query()
        self.admit_app(app_id)
        self.answer(self.read(self.context.configured.domains, app_id))

    @operation(
        "Add a custom domain",
        Scope.DEPLOY,
        body=schemas.NewDomain,
        answers={201: answers.CustomDomain},
        problems=(_NO_APP, "409 DOMAIN_TAKEN"),
    )
    async def post(self, app_id: str) -> None:
        """It leads to the environment's current deployment at once; pointing the DNS here is its owner's part."""
        self.no_query()
        self.admit_app(app_id)
        body = self.body(schemas.NewDomain)
        domain = schemas.ascii_domain(body.domain)
        self._refuse_our_own(domain)
        operation = AddDomain(app_id=app_id, domain=domain, environment=body.environment, at=clock.now())
        added = await self.durable(self.configuration.commit_hosts(operation, app_id))
        self.answer(
            self.context.configured.render_domain(added),
            201,
            location=f"/api/v1/apps/{app_id}/custom-domains/{added.id}",
        )

    def _refuse_our_own(self, domain: str) -> None:
        own = self.context.settings.domain.lower()
        if domain == own or domain.endswith(f".{own}"):
            raise invalid(
                [
                    Fault(
                        "/domain",
                        f"{domain} is below the platform's own domain {own}; its names are given out by it",
                    )
                ]
            )


class DomainHandler(Handler):
    """`/apps/:id/custom-domains/:domain_id`."""

    @operation(
        "Remove a custom domain",
        Scope.DEPLOY,
        answers={204: None},
        problems=(_NO_APP, "404 DOMAIN_NOT_FOUND"),
    )
    async def delete(self, app_id: str, domain_id: str) -> None:
        self.no_query()
        self.admit_app(app_id)
        self.no_body()
        self.refuse_if_match()
        operation = RemoveDomain(app_id=app_id, domain_id=domain_id)
        await self.durable(
            self.configuration.commit_hosts(operation, app_id, gone=lambda hostname: (hostname,))
        )
        self.no_content()


class RegistriesHandler(Handler):
    """`/apps/:id/registries`."""

    @operation(
        "List the registry credentials of an app",
        Scope.READ,
        answers={200: answers.Registries},
        problems=(_NO_APP,),
    )
    def get(self, app_id: str) -> None:
        self.no_query()
        self.admit_app(app_id)
        self.answer(self.read(self.context.configured.registries, app_id))

    @operation(
        "Set the credentials for a registry",
        Scope.DEPLOY,
        body=schemas.NewRegistry,
        answers={201: answers.Registry},
        problems=(_NO_APP, "503 SECRET_UNREADABLE"),
    )
    async def post(self, app_id: str) -> None:
        """One set a host: another one replaces it. The password is never shown again."""
        self.no_query()
        self.admit_app(app_id)
        self.read(self.context.views.app, app_id)
        body, faults = collect(schemas.NewRegistry, self.json_body())
        if body is None:
            raise invalid([_without_password(fault) for fault in faults])
        host = canonical(body.host)
        operation = SetRegistry(
            app_id=app_id,
            host=host,
            username=body.username,
            password=self.context.vault.seal(body.password, context=sealed_for(app_id, host)),
            at=clock.now(),
        )
        made = await self.durable(self.configuration.commit(operation))
        self.answer(
            self.context.configured.render_registry(made),
            201,
            location=f"/api/v1/apps/{app_id}/registries/{made.id}",
        )


class RegistryHandler(Handler):
    """`/apps/:id/registries/:registry_id`."""

    @operation(
        "Remove the credentials for a registry",
        Scope.DEPLOY,
        answers={204: None},
        problems=(_NO_APP, "404 REGISTRY_NOT_FOUND"),
    )
    async def delete(self, app_id: str, registry_id: str) -> None:
        self.no_query()
        self.admit_app(app_id)
        self.no_body()
        self.refuse_if_match()
        operation = RemoveRegistry(app_id=app_id, registry_id=registry_id)
        await self.durable(self.configuration.commit(operation))
        self.no_content()


def _without_password(fault: Fault) -> Fault:
    if fault.pointer != "/password":
        return fault
    return Fault(fault.pointer, fault.message.partition(", not ")[0])
