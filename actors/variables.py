"""The variables of a deployment's tasks: sealed while they are kept, in the clear for the moment of a launch.

Called by task actors in their turns; on the way of a wake, so nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from platformd.domain.deployment.state import Deployment
from platformd.domain.variables import MASK, Variable, Variables, sealed_for
from platformd.secrets import Vault


def variables_of(deployment: Deployment) -> Variables:
    """What its tasks see, secrets sealed."""
    if deployment.resolved_env is not None:
        return deployment.resolved_env
    return {name: Variable(value) for name, value in deployment.spec.env.items()}


def opened(vault: Vault, app_id: str, variables: Variables) -> dict[str, str]:
    """Each variable's value in the clear; `SecretUnreadable` when the key does not fit."""
    return {
        name: vault.unseal(variable.value, context=sealed_for(app_id, name))
        if variable.secret
        else variable.value
        for name, variable in variables.items()
    }


@contextmanager
def speaking_of(variables: Variables, env: Mapping[str, str]) -> Iterator[None]:
    """What fails in here may say the value of a secret; whoever hears of the failure hears `***`."""
    try:
        yield
    except Exception as error:
        said = masked = str(error)
        for name, variable in variables.items():
            if variable.secret and env[name]:
                masked = masked.replace(env[name], MASK)
        if masked == said:
            raise
        raise RuntimeError(f"{type(error).__name__}: {masked}") from None
