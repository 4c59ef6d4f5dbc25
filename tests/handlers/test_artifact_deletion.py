"""Deleting artifacts: refused while needed, bytes gone with the last that has them."""

from __future__ import annotations

from pathlib import Path

from tests.handlers.served import SCRIPT, Served


def files(api: Served) -> list[Path]:
    return list(api.context.artifacts.path("x").parent.iterdir())


async def delete(api: Served, artifact_id: str) -> int:
    return (await api.client.call("DELETE", f"/api/v1/artifacts/{artifact_id}")).status


async def test_the_bytes_go_with_the_last_artifact_that_has_them(api: Served) -> None:
    first, second, other = (
        await api.artifact_id(),
        await api.artifact_id(),
        await api.artifact_id(SCRIPT + b"#"),
    )
    assert len(files(api)) == 2
    assert await delete(api, first) == 204
    assert len(files(api)) == 2
    assert (await api.client.get(f"/api/v1/artifacts/{second}/download")).body == SCRIPT
    assert await delete(api, second) == 204
    assert len(files(api)) == 1
    assert (await api.client.get(f"/api/v1/artifacts/{other}/download")).status == 200
    assert await delete(api, second) == 404


async def test_one_without_bytes_can_be_deleted(api: Served) -> None:
    made = await api.client.post("/api/v1/artifacts", {"name": "empty"})
    assert await delete(api, made.json["id"]) == 204


async def test_one_that_a_deployment_or_a_rollback_needs_stays(api: Served) -> None:
    deployment = await api.deployment()
    artifact = deployment["spec"]["artifact_id"]
    answer = await api.client.call("DELETE", f"/api/v1/artifacts/{artifact}")
    answer.problem(409, "ARTIFACT_IN_USE")
    assert "version 1" in answer.json["detail"]
    await api.change(deployment["id"], ever_ready=True)
    await api.finish(deployment["id"])
    assert await delete(api, artifact) == 409
    await api.change(deployment["id"], ever_ready=False)
    assert await delete(api, artifact) == 204
