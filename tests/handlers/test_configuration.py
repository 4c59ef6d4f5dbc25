"""Environments, variables, custom domains, registry credentials and changes of apps over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from platformd.secrets import KEY_FILE
from tests.handlers.served import Served

SECRET = "correct-horse-battery"


async def call(
    api: Served, method: str, path: str, body: Any = None, status: int = 200, **headers: str
) -> Any:
    answer = await api.client.call(method, f"/api/v1{path}", body, headers=headers)
    assert answer.status == status, (answer.status, answer.body)
    return answer.json if answer.body else None


def pointers(problem: Any) -> list[str]:
    return [fault["pointer"] for fault in problem["errors"]]


# ---- variables ---------------------------------------------------------------------------------------------


async def test_a_secret_is_written_and_never_read(api: Served) -> None:
    path = f"/apps/{await api.app_id()}/env"
    written = {"PLAIN": "1", "TOKEN": {"value": SECRET, "secret": True}, "OPEN": {"value": "2"}}
    masked = {"OPEN": "2", "PLAIN": "1", "TOKEN": {"secret": True, "value": "***"}}
    changed = await call(api, "PUT", path, written)
    assert changed == {"env": masked, "revision": 1, "applies_to": "next", "deployments": []}
    assert await call(api, "GET", path) == masked
    assert (await call(api, "PUT", path, masked))["env"] == masked
    assert (await call(api, "PATCH", path, {"OPEN": None, "NEW": "3"}))["env"] == {
        "NEW": "3", "PLAIN": "1", "TOKEN": {"secret": True, "value": "***"},
    }  # fmt: skip


async def test_both_scopes_are_apart(api: Served) -> None:
    app = f"/apps/{await api.app_id()}"
    await call(api, "PUT", f"{app}/env", {"A": "app"})
    await call(api, "PUT", f"{app}/environments/production/env", {"A": "production"})
    assert await call(api, "GET", f"{app}/env") == {"A": "app"}
    assert await call(api, "GET", f"{app}/environments/production/env") == {"A": "production"}
    assert await call(api, "GET", f"{app}/environments/development/env") == {}
    missing = await call(api, "PUT", f"{app}/environments/staging/env", {"A": "1"}, 404)
    assert missing["code"] == "ENVIRONMENT_NOT_FOUND"


async def test_a_change_names_who_goes_on_with_old_values(api: Served) -> None:
    app_id = await api.app_id()
    there = await api.deployment(app_id)
    own = await api.deployment(app_id, env={"A": "own"})
    elsewhere = await api.deployment(app_id, environment="production")
    changed = await call(api, "PUT", f"/apps/{app_id}/environments/development/env", {"A": "1"})
    assert [old["id"] for old in changed["deployments"]] == [there["id"]]
    changed = await call(api, "PUT", f"/apps/{app_id}/env", {"A": "1"})
    assert [old["id"] for old in changed["deployments"]] == [there["id"], elsewhere["id"]]
    await api.finish(there["id"])
    changed = await call(api, "PATCH", f"/apps/{app_id}/env", {"A": "2"})
    assert own["id"] not in {old["id"] for old in changed["deployments"]}
    assert [old["id"] for old in changed["deployments"]] == [elsewhere["id"]]


async def test_variables_are_changed_from_the_revision_seen(api: Served) -> None:
    path = f"/apps/{await api.app_id()}/env"
    unset = await api.client.get(f"/api/v1{path}")
    assert unset.headers["etag"] == 'W/"0"'
    await call(api, "PUT", path, {"A": "1"}, **{"If-Match": unset.headers["etag"]})
    shown = await api.client.get(f"/api/v1{path}")
    assert shown.headers["etag"] == 'W/"1"'
    unchanged = await api.client.call(
        "GET", f"/api/v1{path}", headers={"If-None-Match": shown.headers["etag"]}
    )
    assert (unchanged.status, unchanged.body) == (304, b"")
    stale = await call(api, "PUT", path, {"A": "2"}, 412, **{"If-Match": '"0"'})
    assert stale["code"] == "REVISION_MISMATCH"
    await call(api, "PATCH", path, {"A": "2"}, **{"If-Match": "1"})
    await call(api, "PATCH", path, {"A": "3"}, 412, **{"If-Match": '"nonsense"'})


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"1A": "x", "B C": "y", "": "z"}, ["/", "/1A", "/B C"]),
        ({"A": None}, ["/A"]),
        ({"A": {"value": SECRET, "secret": "yes"}}, ["/A/secret"]),
        ({"A": {"secret": True}}, ["/A/value"]),
        ({"A": {"value": [SECRET], "secret": True}}, ["/A/value"]),
        ({"A": {"value": 5551234567, "secret": True}}, ["/A/value"]),
        ({"A": {"value": SECRET + "\0", "secret": True}}, ["/A/value"]),
        ({"A": {"value": "***", "secret": True}}, ["/A"]),
        ({"A": "x" * 131_001}, ["/A"]),
        ([SECRET], [""]),
    ],
)
async def test_what_is_wrong_is_named_and_never_shown(api: Served, body: Any, wrong: list[str]) -> None:
    path = f"/apps/{await api.app_id()}/env"
    problem = await call(api, "PUT", path, body, 422)
    assert sorted(pointers(problem)) == wrong
    assert SECRET not in str(problem) and "5551234567" not in str(problem)


async def test_a_damaged_key_refuses_secrets_and_nothing_else(api: Served) -> None:
    path = f"/apps/{await api.app_id()}/env"
    vault = api.context.vault
    vault._cipher = None
    problem = await call(api, "PUT", path, {"A": {"value": SECRET, "secret": True}}, 503)
    assert problem["code"] == "SECRET_UNREADABLE" and str(KEY_FILE) in problem["detail"]
    await call(api, "PUT", path, {"A": "plain"})


# ---- environments ------------------------------------------------------------------------------------------


async def test_environments_are_made_listed_and_deleted(api: Served) -> None:
    app = f"/apps/{await api.app_id()}"
    made = await call(api, "POST", f"{app}/environments", {"slug": "staging"}, 201)
    assert made["url"] == "http://my-api-default-staging.localhost:47000"
    assert made["current_deployment"] is None and made["deployments"] == 0
    listed = await call(api, "GET", f"{app}/environments")
    assert [each["slug"] for each in listed["environments"]] == ["development", "production", "staging"]
    again = await call(api, "POST", f"{app}/environments", {"slug": "staging"}, 409)
    assert again["code"] == "ENVIRONMENT_EXISTS"
    await call(api, "PUT", f"{app}/environments/staging/env", {"A": "1"})
    await call(api, "DELETE", f"{app}/environments/staging", None, 204)
    await call(api, "GET", f"{app}/environments/staging", None, 404)
    await call(api, "POST", f"{app}/environments", {"slug": "staging"}, 201)
    assert await call(api, "GET", f"{app}/environments/staging/env") == {}


async def test_an_environment_in_use_stays(api: Served) -> None:
    app_id = await api.app_id()
    deployment = await api.deployment(app_id, environment="staging")
    path = f"/apps/{app_id}/environments/staging"
    assert (await call(api, "DELETE", path, None, 409))["code"] == "ENVIRONMENT_IN_USE"
    await api.finish(deployment["id"])
    await call(api, "DELETE", path, None, 204)
    for slug in ("development", "production"):
        problem = await call(api, "DELETE", f"/apps/{app_id}/environments/{slug}", None, 409)
        assert problem["code"] == "ENVIRONMENT_PERMANENT"


# ---- custom domains ----------------------------------------------------------------------------------------


async def test_a_domain_leads_to_one_app_only(api: Served) -> None:
    first, second = await api.app_id(), await api.app_id("other")
    body = {"domain": "Shop.Example.COM.", "environment": "development"}
    made = await call(api, "POST", f"/apps/{first}/custom-domains", body, 201)
    assert (made["domain"], made["environment"]) == ("shop.example.com", "development")
    taken = await call(api, "POST", f"/apps/{second}/custom-domains", body, 409)
    assert taken["code"] == "DOMAIN_TAKEN"
    routes = {route.hostname: route for route in api.store.routes(first)}
    assert routes["shop.example.com"].kind == "custom"
    await call(api, "DELETE", f"/apps/{second}/custom-domains/{made['id']}", None, 404)
    await call(api, "DELETE", f"/apps/{first}/custom-domains/{made['id']}", None, 204)
    assert await call(api, "GET", f"/apps/{first}/custom-domains") == {"custom_domains": []}
    await call(api, "POST", f"/apps/{second}/custom-domains", body, 201)


async def test_other_scripts_are_written_as_the_dns_does(api: Served) -> None:
    path = f"/apps/{await api.app_id()}/custom-domains"
    made = await call(api, "POST", path, {"domain": "bücher.example"}, 201)
    assert (made["domain"], made["environment"]) == ("xn--bcher-kva.example", "production")


@pytest.mark.parametrize(
    "domain",
    [
        *(
            "localhost",
            "shop",
            "my.localhost",
            "127.0.0.1",
            "[::1]",
            "::1",
            "1.2.3",
            "*.example.com",
            "a..example",
        ),
        *(
            "-a.example",
            "a-.example",
            "a_b.example",
            "http://a.example",
            "a.example/x",
            "a.example:80",
            "",
            " ",
        ),
        *("x" * 64 + ".example", ".".join(["abcdefgh"] * 40), "a.example\n", "xn--\u2028.example"),
    ],
)
async def test_what_is_no_hostname_of_somebody_is_refused(api: Served, domain: str) -> None:
    path = f"/apps/{await api.app_id()}/custom-domains"
    assert pointers(await call(api, "POST", path, {"domain": domain}, 422)) == ["/domain"]


async def test_a_domain_needs_an_environment_that_is_there(api: Served) -> None:
    path = f"/apps/{await api.app_id()}/custom-domains"
    body = {"domain": "a.example", "environment": "nowhere"}
    assert pointers(await call(api, "POST", path, body, 422)) == ["/environment"]


# ---- registries --------------------------------------------------------------------------------------------


async def test_a_registrys_password_is_write_only(api: Served) -> None:
    path = f"/apps/{await api.app_id()}/registries"
    body = {"host": "Registry.Example:5000", "username": "me", "password": SECRET}
    made = await call(api, "POST", path, body, 201)
    assert (made["host"], made["username"], made["password"]) == ("registry.example:5000", "me", "***")
    again = await call(api, "POST", path, {**body, "username": "you"}, 201)
    assert again["id"] == made["id"]
    (listed,) = (await call(api, "GET", path))["registries"]
    assert listed["username"] == "you" and SECRET not in str(listed)
    stored = api.store.reader.row("SELECT password FROM registries")[0]
    assert SECRET not in stored
    await call(api, "DELETE", f"{path}/{made['id']}", None, 204)
    await call(api, "DELETE", f"{path}/{made['id']}", None, 404)


async def test_a_wrong_password_is_not_shown(api: Served) -> None:
    path = f"/apps/{await api.app_id()}/registries"
    problem = await call(api, "POST", path, {"host": "a b", "username": "", "password": [SECRET]}, 422)
    assert sorted(pointers(problem)) == ["/host", "/password", "/username"]
    assert SECRET not in str(problem)


# ---- apps --------------------------------------------------------------------------------------------------


async def test_what_a_change_leaves_out_stays(api: Served) -> None:
    path = f"/apps/{await api.app_id()}"
    before = await call(api, "PUT", path, {"description": "first", "labels": {"team": "a"}})
    after = await call(api, "PUT", path, {"description": None})
    assert (after["description"], after["labels"]) == (None, {"team": "a"})
    assert after["revision"] == before["revision"] + 1
    assert await call(api, "GET", path) == after
    await call(api, "PUT", path, {"labels": {}}, 412, **{"If-Match": f'"{before["revision"]}"'})


async def test_every_fault_of_a_change_is_named(api: Served) -> None:
    path = f"/apps/{await api.app_id()}"
    default = {
        "replicas": 2,
        "networking": {"port": 80},
        "volumes": [{"host_path": "/etc", "container_path": "/etc"}],
        "env": {"1": "x"},
        "environment": "production",
    }
    problem = await call(api, "PUT", path, {"name": "other", "default_deployment_spec": default}, 422)
    within = "/default_deployment_spec"
    assert sorted(pointers(problem)) == [
        f"{within}/env/1", f"{within}/environment", f"{within}/volumes/0/host_path", "/name",
    ]  # fmt: skip
    clash = {"replicas": 2, "networking": {"port": 80}}
    problem = await call(api, "PUT", path, {"default_deployment_spec": clash}, 422)
    assert pointers(problem) == [f"{within}/networking/port"]


async def test_new_deployments_inherit_where_they_are_silent(api: Served) -> None:
    app_id = await api.app_id()
    default = {
        "idle_timeout_secs": 7,
        "resources": {"cpu": "250m"},
        "networking": {"health_path": "/default"},
        "env": {"A": "default", "B": "default"},
        "command": ["/bin/default"],
        "args": ["--default"],
    }
    await call(api, "PUT", f"/apps/{app_id}", {"default_deployment_spec": default})
    silent = (await api.deployment(app_id))["spec"]
    assert silent["idle_timeout_secs"] == 7
    assert silent["resources"] == {"cpu": "250m", "memory": "128Mi", "cpu_policy": "cap"}
    assert (silent["networking"]["health_path"], silent["command"], silent["args"]) == (
        "/default", ["/bin/default"], ["--default"],
    )  # fmt: skip
    stated = await api.deployment(
        app_id,
        resources={"memory": "64Mi"},
        networking={"health_check": {"path": "/own"}},
        env={"B": "own"},
        command=["/bin/own"],
    )
    spec = stated["spec"]
    assert spec["resources"] == {"cpu": "250m", "memory": "64Mi", "cpu_policy": "cap"}
    assert spec["networking"]["health_path"] == "/own"
    assert spec["env"] == {"A": "default", "B": "own"}
    assert (spec["command"], spec["args"]) == (["/bin/own"], [])


async def test_an_app_is_found_by_its_subdomain(api: Served) -> None:
    app_id = await api.app_id()
    assert (await call(api, "GET", "/apps/by-subdomain/My-Api-Default"))["id"] == app_id
    assert (await call(api, "GET", "/apps/by-subdomain/nobody", None, 404))["code"] == "APP_NOT_FOUND"


async def test_a_removal_that_takes_its_time_is_accepted(api: Served) -> None:
    app_id = await api.app_id()
    assert (await call(api, "DELETE", f"/apps/{app_id}", None, 202))["id"] == app_id
    await call(api, "DELETE", "/apps/00000000-0000-4000-8000-000000000000", None, 404)
