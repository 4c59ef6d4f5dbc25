"""Pages of lists."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platformd.domain.build.state import Build
from platformd.domain.deployment.state import Deployment, Status
from platformd.domain.operations import SaveDeployment
from platformd.domain.snapshot import App, Artifact
from platformd.domain.task import Task
from platformd.store import MemoryStore
from platformd.store.lists import SORT_ORDERS, SORTS, Page, page_of, versions_below
from tests.store.samples import AT, done, make_app, make_artifact, make_build, make_deployment, make_task

KINDS = {"apps": App, "deployments": Deployment, "tasks": Task, "artifacts": Artifact, "builds": Build}


def ids(records) -> list[str]:
    return [record.id for record in records]


@pytest.fixture
def deployments(store) -> list[Deployment]:
    apps = [make_app(store, name) for name in ("a", "b")]
    made = [
        make_deployment(store, apps[n % 2].id, at=AT + timedelta(microseconds=500_000 * (n // 3)))
        for n in range(11)
    ]
    done(store.commit(SaveDeployment(replace(made[4], status=Status.RUNNING))))
    return made


def test_pages_follow_one_another_without_gap_or_repeat(store, deployments):
    for order in SORT_ORDERS:
        expected = sorted(
            deployments, key=lambda made: (made.identity.created_at, made.id), reverse=order == "desc"
        )
        pages = [page_of(store.reader, Deployment, Page(n, 3, "created_at", order), {}) for n in range(1, 6)]
        assert [id for records, _ in pages for id in ids(records)] == ids(expected)
        assert {total for _, total in pages} == {11}


def test_ties_are_in_a_steady_order(store, deployments):
    for order in SORT_ORDERS:
        (records, _) = page_of(store.reader, Deployment, Page(1, 100, "status", order), {})
        same = [record.id for record in records if record.status is Status.PENDING]
        assert len(same) == 10
        assert same == sorted(same, reverse=order == "desc")


def test_filters_count_too(store, deployments):
    app_id = deployments[0].identity.app_id
    records, total = page_of(store.reader, Deployment, Page(1, 2), {"app_id": app_id, "status": None})
    assert (len(records), total) == (2, 6)
    assert {record.identity.app_id for record in records} == {app_id}


@pytest.mark.parametrize(("list", "sort_by"), [(list, by) for list, names in SORTS.items() for by in names])
@pytest.mark.parametrize("order", SORT_ORDERS)
def test_every_announced_order_works(store, list, sort_by, order):
    deployment = make_deployment(store, make_app(store).id)
    make_task(store, deployment)
    make_artifact(store)
    make_build(store, deployment.identity.app_id)
    records, total = page_of(store.reader, KINDS[list], Page(1, 20, sort_by, order), {})
    assert len(records) == total == 1


def test_a_page_beyond_everything_is_empty(store, deployments):
    assert page_of(store.reader, Deployment, Page(10**30, 100), {}) == ([], 11)


def test_the_cursor_neither_skips_nor_repeats_while_versions_are_added(store, deployments):
    app_id = deployments[0].identity.app_id
    first, token = versions_below(store.reader, app_id, None, 4)
    assert ([made.identity.version for made in first], token) == ([6, 5, 4, 3], 3)
    make_deployment(store, app_id)
    second, end = versions_below(store.reader, app_id, token, 4)
    assert ([made.identity.version for made in second], end) == ([2, 1], None)
    exact, end = versions_below(store.reader, app_id, 3, 2)
    assert ([made.identity.version for made in exact], end) == ([2, 1], None)
    assert versions_below(store.reader, app_id, 1, 2) == ([], None)
    assert versions_below(store.reader, app_id, 10**30, 1)[1] == 7


@given(
    moves=st.lists(st.one_of(st.integers(1, 5), st.just("add"), st.just("again")), max_size=30),
    before=st.integers(0, 12),
)
@settings(max_examples=60, deadline=None)
def test_whoever_adds_meanwhile_the_cursor_shows_each_of_the_first_page_on_once(moves, before):
    """Pages of any size, versions added in between, a page asked for twice: what was there at the first page comes
    once and in order, what came later never."""
    store = MemoryStore()
    try:
        app_id = make_app(store).id
        for _ in range(before):
            make_deployment(store, app_id)
        seen: list[int] = []
        token, ended = None, False
        asked: tuple[int | None, int] | None = None
        there = before
        for move in moves:
            if move == "add":
                make_deployment(store, app_id)
                there += asked is None
            elif move == "again" and asked is not None:
                page, _ = versions_below(store.reader, app_id, *asked)
                again = [record.identity.version for record in page]
                assert asked[0] is None or again == seen[len(seen) - len(again) :]
            elif move != "again" and not ended:
                asked = (token, move)
                page, token = versions_below(store.reader, app_id, token, move)
                seen += [record.identity.version for record in page]
                ended = token is None
        assert seen == list(range(there, there - len(seen), -1))
        assert not ended or len(seen) == there
    finally:
        store.close()


def test_an_unreadable_row_does_not_end_the_cursor_list(store, deployments):
    app_id = deployments[0].identity.app_id
    store._writer._database.execute_sql(
        "UPDATE deployments SET snapshot = '{' WHERE app_id = ? AND version = 5", (app_id,)
    )
    records, token = versions_below(store.reader, app_id, None, 2)
    assert ([made.identity.version for made in records], token) == ([6], 5)
