"""Secrets in the hands of actors: in the clear for a launch, masked in what a failed launch says, sealed in letters."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from actors.registries import credentials
from actors.variables import opened, speaking_of, variables_of
from platformd.domain.configuration import ChangeVariables, SetRegistry
from platformd.domain.registries import registry_of, sealed_for
from platformd.domain.variables import Variable
from platformd.domain.variables import sealed_for as variable_sealed_for
from platformd.secrets import SecretUnreadable, Vault
from tests.actors.stage import VAULT, Stage

SECRET = "correct-horse-battery"


def with_secret(stage: Stage) -> None:
    sealed = VAULT.seal(SECRET, context=variable_sealed_for(stage.app.id, "TOKEN"))
    change = {"TOKEN": Variable(sealed, secret=True)}
    stage.store.commit(
        ChangeVariables(
            app_id=stage.app.id, environment=None, change=change, keep=True, at=stage.app.created_at
        )
    ).result()


def test_only_the_launch_sees_it_and_the_row_does_not(stage: Stage) -> None:
    with_secret(stage)
    id = stage.deploy()
    (task,) = stage.living(id)
    assert stage.driver.tasks[task].order.env["TOKEN"] == SECRET
    assert SECRET not in repr(stage.driver.tasks[task].order)
    assert SECRET not in str(stage.store.reader.rows("SELECT snapshot FROM deployments"))
    assert opened(VAULT, stage.app.id, variables_of(stage.deployment(id))) == {"TOKEN": SECRET}


def test_a_key_that_does_not_fit_fails_the_start(stage: Stage) -> None:
    with_secret(stage)
    object.__setattr__(stage.world, "vault", Vault(Path("/keys/secrets.key"), bytes([1] * 32)))
    state = stage.deployment(stage.deploy())
    assert (state.status, state.reason and state.reason.code) == ("failed", "SECRET_UNREADABLE")
    assert stage.living(state.id) == []


def test_a_launch_that_raises_leaves_a_letter_without_it(stage: Stage) -> None:
    with_secret(stage)

    def raises(order) -> None:
        raise ValueError(f"cannot start with {dict(order.env)}")

    stage.driver.launch = raises  # type: ignore[method-assign]
    stage.deploy()
    letters = [asdict(letter) for letter in stage.letters.page()]
    assert letters and "***" in json.dumps(letters, default=str)
    assert SECRET not in json.dumps(letters, default=str)


def test_what_says_no_secret_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError), speaking_of({"A": Variable("sealed", True)}, {"A": SECRET}):
        raise KeyError("something else")


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("nginx", "docker.io"),
        ("team/nginx:1", "docker.io"),
        ("index.docker.io/team/nginx", "docker.io"),
        ("localhost/nginx", "localhost"),
        ("127.0.0.1:5000/a/b:tag", "127.0.0.1:5000"),
        ("Registry.Example/a@sha256:00", "registry.example"),
    ],
)
def test_an_image_comes_from_the_registry_its_name_says(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def test_credentials_are_found_by_the_image(stage: Stage) -> None:
    host = "registry.example:5000"
    stage.store.commit(
        SetRegistry(
            app_id=stage.app.id,
            host=host,
            username="me",
            password=VAULT.seal(SECRET, context=sealed_for(stage.app.id, host)),
            at=stage.app.created_at,
        )
    ).result()
    assert credentials(stage.world, stage.app.id, f"{host}/team/api:1") == ("me", SECRET)
    assert credentials(stage.world, stage.app.id, "team/api:1") is None
    object.__setattr__(stage.world, "vault", Vault(Path("/keys/secrets.key"), None, "it is gone"))
    with pytest.raises(SecretUnreadable, match="it is gone"):
        credentials(stage.world, stage.app.id, f"{host}/team/api:1")
