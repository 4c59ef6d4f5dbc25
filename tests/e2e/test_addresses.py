"""Hostnames: an app's, its environments', each deployment's own; what leads nowhere says what does."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.platform import Platform, host_of
from tests.e2e.test_supersession import address_of, is_current
from tests.support import eventually


def test_an_environment_without_a_deployment_is_404(server: Platform) -> None:
    app = server.app()
    for slug in ("production", "development"):
        nobody = server.get(address_of(app, slug))
        assert (nobody.status, nobody.json["code"]) == (404, "NO_DEPLOYMENT")
        assert nobody.headers["Content-Type"] == "application/problem+json"


def test_it_names_the_addresses_there_are(server: Platform, tiny: Path) -> None:
    app = server.app()
    deployment = server.deploy(tiny, app["id"], environment="staging")
    is_current(server, deployment)
    eventually(lambda: server.get(address_of(app, "staging")).status == 200)
    nobody = server.get(address_of(app, "production"))
    assert (nobody.status, nobody.json["code"]) == (404, "NO_DEPLOYMENT")
    assert set(nobody.json["names"]) == {address_of(app, "staging"), host_of(deployment)}


def test_an_unknown_host_is_404_and_none_too(server: Platform) -> None:
    unknown = server.get("nobody-knows-this.localhost")
    assert (unknown.status, unknown.json["code"]) == (404, "NO_HOST")
    assert unknown.json["request_id"] == unknown.headers["X-Request-Id"]


def test_each_address_leads_to_its_own(server: Platform, tiny: Path) -> None:
    app = server.app()
    hosts = {}
    for slug in ("development", "production", "pr-7"):
        deployment = server.deploy(tiny, app["id"], environment=slug)
        is_current(server, deployment)
        hosts[slug] = host_of(deployment)
    assert hosts["pr-7"].endswith("-pr-7.localhost")
    pids = set()
    for slug, preview in hosts.items():
        pid = eventually(
            lambda s=slug: (a := server.get(address_of(app, s), "/pid")).status == 200 and a.text
        )
        assert server.get(preview, "/pid").text == pid
        pids.add(pid)
    assert len(pids) == 3


def test_the_preview_url_is_what_a_browser_may_be_given(server: Platform, tiny: Path) -> None:
    """Scheme, name, sha, environment, domain, and the gateway's port."""
    app = server.app()
    deployment = server.deploy(tiny, app["id"])
    url = urlsplit(deployment["preview_url"])
    assert url.scheme == "http"
    assert url.hostname == f"{app['name']}-{deployment['sha']}-development.localhost"
    assert url.port == urlsplit(server.gateway_url).port
    assert server.get(f"{url.hostname.upper()}:{url.port}").status == 200, "case and port do not matter"


def test_a_long_name_keeps_its_addresses_apart(server: Platform, tiny: Path) -> None:
    app = server.app("a" + "b" * 39)
    first = server.deploy(tiny, app["id"], environment="x" * 32)
    second = server.deploy(tiny, app["id"], environment="x" * 32)
    labels = [host_of(deployment).removesuffix(".localhost") for deployment in (first, second)]
    assert all(len(label) <= 63 for label in labels)
    assert labels[0] != labels[1]
    assert [server.get(host_of(deployment)).status for deployment in (first, second)] == [200, 200]


def test_a_finished_deployment_leaves_503_where_it_was(server: Platform, tiny: Path) -> None:
    app = server.app()
    deployment = server.deploy(tiny, app["id"])
    is_current(server, deployment)
    server.api("POST", f"/deployments/{deployment['id']}/cancel")
    server.wait(deployment["id"], lambda d: d["phase"] == "done")
    for host in (address_of(app), host_of(deployment)):
        gone = eventually(lambda h=host: (a := server.get(h)).status == 503 and a)
        assert gone.json["code"] == "NO_DEPLOYMENT"


def test_addresses_live_through_a_restart(platform: Platform, tiny: Path) -> None:
    app = platform.app()
    deployment = platform.deploy(tiny, app["id"], environment="production")
    is_current(platform, deployment)
    pid = platform.get(host_of(deployment), "/pid").text
    platform.terminate()
    platform.start()
    assert platform.get(address_of(app, "production"), "/pid").text == pid
    assert platform.get(host_of(deployment), "/pid").text == pid
    assert platform.get(address_of(app)).status == 404
