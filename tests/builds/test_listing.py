"""What a tree may hold: nothing that lies, or leads, outside of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platformd.builds.listing import MOST_ENTRIES, Entry, Excess, Unsafe, check, check_links, parse

DEEP = "a/b/c/d/e/f"


@pytest.mark.parametrize(
    "links",
    [
        {"x": "../y"},
        {"x": "/etc/passwd"},
        {"a/x": "../../y"},
        {"a/x": "b/../../../y"},
        {f"{DEEP}/up": "../../../../../..", f"{DEEP}/out": "up/../etc/passwd"},
        {"up": ".", "out": "up/../secret"},
        {"a/b/up": "../..", "a/b/out": "up/../../etc"},
        {"one": "two/..", "two": "three", "three": "../x"},
    ],
)
def test_a_link_that_leads_out_is_unsafe_by_whatever_way(links: dict[str, str]) -> None:
    with pytest.raises(Unsafe):
        check_links(links)


@pytest.mark.parametrize(
    "links",
    [
        {"x": "y"},
        {"a/x": "../y"},
        {"a/b/x": "../../y", "z": "a/b/x"},
        {"loop": "loop"},
        {"one": "two", "two": "one"},
        {"dangling": "nowhere/at/all"},
        {"a/x": "."},
        {"lib/current": "v1", "bin": "lib/current/bin"},
    ],
)
def test_a_link_within_the_tree_may_be_there(links: dict[str, str]) -> None:
    check_links(links)


def test_of_more_entries_than_allowed_no_more_are_taken() -> None:
    record = b"100644 blob %b       0\tfile\0" % (b"0" * 40)
    entries = parse(record * (MOST_ENTRIES + 10))
    with pytest.raises(Excess):
        check(entries, 1)
    assert len(list(entries)) == 9
    assert check(parse(record * 3), 1) == [Entry("100644", "0" * 40, 0, "file")] * 3


def test_links_that_would_take_for_ever_to_follow_are_too_many() -> None:
    links = {f"l{number}": "./" * 1_000 + f"l{number + 1}" for number in range(3_000)}
    with pytest.raises(Excess):
        check_links(links)


names = st.sampled_from(["a", "b", "c"])
places = st.lists(names, min_size=1, max_size=3).map("/".join)
targets = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=5).map("/".join)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(places, targets, max_size=5))
def test_what_is_let_in_leads_nowhere_else_on_a_real_disk(links: dict[str, str]) -> None:
    """Unless a name is both a link and a folder above another, which git does not have."""
    if any(other.startswith(f"{path}/") for path in links for other in links):
        return
    try:
        check_links(links)
    except Unsafe:
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(os.path.realpath(folder)) / "tree"
        tree.mkdir()
        for path, target in links.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).symlink_to(target)
        for path in links:
            try:
                leads = (tree / path).resolve(strict=True)
            except (OSError, RuntimeError):  # nothing there, or a loop
                continue
            assert leads.is_relative_to(tree)
