"""Variables: whose value holds, what a change leaves, who goes on with old ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platformd.domain.variables import (
    MASK,
    MOST_BYTES,
    MOST_NAMES,
    Masked,
    Precedence,
    Variable,
    changed,
    merged,
    replaced,
)
from platformd.errors import Invalid

SECRET = Variable("sealed", secret=True)
names = st.sampled_from(["A", "B", "C", "D"])
variables = st.dictionaries(names, st.builds(Variable, st.sampled_from(["1", "2", "3"]), st.booleans()))


def plain(values: dict[str, Variable]) -> dict[str, str]:
    return {name: variable.value for name, variable in values.items()}


def test_the_deployments_own_value_holds() -> None:
    app = {"A": Variable("app"), "B": Variable("app"), "C": Variable("app")}
    environment = {"B": Variable("environment"), "C": Variable("environment")}
    found = merged(app, environment, {"C": "own", "D": "own"})
    assert plain(found) == {"A": "app", "B": "environment", "C": "own", "D": "own"}


def test_for_what_is_promoted_the_target_environments_value_holds() -> None:
    app, target = {"A": Variable("app"), "B": Variable("app")}, {"C": Variable("target")}
    found = merged(app, target, {"B": "own", "C": "own", "D": "own"}, Precedence.ENVIRONMENT)
    assert plain(found) == {"A": "app", "B": "own", "C": "target", "D": "own"}


@given(variables, variables, st.dictionaries(names, st.text(max_size=3)))
def test_every_name_has_the_value_of_the_last_that_names_it(app, environment, own) -> None:
    stated = {name: Variable(value) for name, value in own.items()}
    for precedence, order in (
        (Precedence.DEPLOYMENT, (stated, environment, app)),
        (Precedence.ENVIRONMENT, (environment, stated, app)),
    ):
        found = merged(app, environment, own, precedence)
        assert found.keys() == app.keys() | environment.keys() | own.keys()
        for name, variable in found.items():
            assert variable == next(level[name] for level in order if name in level)


def test_a_change_keeps_what_it_does_not_name_and_null_removes() -> None:
    present = {"A": Variable("1"), "B": Variable("2")}
    assert changed(present, {"B": None, "C": Variable("3"), "X": None}) == {
        "A": Variable("1"),
        "C": Variable("3"),
    }


def test_a_replacement_keeps_nothing_else() -> None:
    assert replaced({"A": Variable("1"), "S": SECRET}, {"B": Variable("2")}) == {"B": Variable("2")}


@pytest.mark.parametrize("apply", [changed, replaced])
@pytest.mark.parametrize("secret", [True, False])
def test_the_mask_keeps_a_secret_as_it_is(apply, secret: bool) -> None:
    assert apply({"S": SECRET}, {"S": Masked(secret)}) == {"S": SECRET}


def test_the_mask_alone_is_an_ordinary_value_where_no_secret_is() -> None:
    assert changed({"A": Variable("1")}, {"A": Masked(False)}) == {"A": Variable(MASK)}


def test_the_mask_keeps_no_secret_that_is_not_there() -> None:
    with pytest.raises(Invalid) as caught:
        changed({"B": Variable("plain")}, {"A": Masked(True), "B": Masked(True)})
    assert [fault.pointer for fault in caught.value.faults] == ["/A", "/B"]


def test_there_are_only_so_many() -> None:
    many = {f"N{number}": Variable("") for number in range(MOST_NAMES)}
    assert len(changed(many, {"N0": Variable("x")})) == MOST_NAMES
    with pytest.raises(Invalid, match="at most 1000"):
        changed(many, {"ONE_MORE": Variable("")})
    with pytest.raises(Invalid, match="bytes"):
        changed({}, {"A": Variable("x" * MOST_BYTES)})
