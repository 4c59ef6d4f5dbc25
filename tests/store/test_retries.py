"""Idempotency keys and expected revisions as the store keeps them, and tokens."""

from __future__ import annotations

from datetime import timedelta

import pytest

from platformd import clock
from platformd.domain.configuration import AddDomain, CreateEnvironment, SetRegistry
from platformd.domain.operations import CreateArtifact, ReleaseHold
from platformd.domain.policy import ANSWERS_KEPT
from platformd.domain.requests import RequestKey
from platformd.domain.retries import ForgetAnswers, IfRevision, KeepAnswer, KeptAnswer, Made, Once
from platformd.domain.snapshot import App
from platformd.domain.token import CreateToken, RevokeToken, Scope, TokenUsed, digest
from platformd.errors import Conflict, NotFound, PreconditionFailed
from platformd.ids import new_id, new_secret
from platformd.store import CreateApp, Store
from platformd.store.retries import kept
from platformd.store.tokens import all_tokens, any_valid, token_by_digest, token_by_id

KEY = RequestKey("key", "print")


@pytest.fixture
def store(tmp_path):
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


def new_app(name: str = "one") -> CreateApp:
    return CreateApp(name=name, domain="localhost", at=clock.now())


def once(operation, key: RequestKey = KEY) -> Once:
    return Once(operation=operation, key=key, at=clock.now())


def test_what_was_made_under_a_key_is_not_made_again(store):
    first = store.commit(once(new_app())).result()
    assert first.new
    assert store.commit(once(new_app("other"))).result() == Made(first.result, new=False)
    other = store.commit(once(new_app("other"), RequestKey("second", "print"))).result()
    assert (other.new, other.result.name) == (True, "other")


def test_whatever_was_made_is_found_again(store):
    app_id = store.commit(new_app()).result().id
    at = clock.now()
    for operation in (
        CreateArtifact(name="server", content_type="text/plain", at=at),
        CreateEnvironment(app_id=app_id, slug="staging", domain="localhost", at=at),
        AddDomain(app_id=app_id, domain="shop.example.com", environment="production", at=at),
        SetRegistry(app_id=app_id, host="r.example.com", username="me", password="sealed", at=at),
        ReleaseHold(app_id=app_id, environment="production"),
        new_token(new_secret("pd")),
    ):
        key = RequestKey(type(operation).__name__, "print")
        first = store.commit(once(operation, key)).result()
        assert (first.new, store.commit(once(operation, key)).result()) == (
            True,
            Made(first.result, new=False),
        )


def test_a_key_is_forgotten_after_a_day(store):
    first = store.commit(once(new_app())).result()
    later = Once(operation=new_app("other"), key=KEY, at=clock.now() + ANSWERS_KEPT)
    assert store.commit(later).result().new
    assert first.result.name == "one"


def test_a_key_and_its_object_are_stored_together_or_not_at_all(store):
    store.commit(new_app()).result()
    with pytest.raises(Conflict):
        store.commit(once(new_app())).result()
    assert kept(store.reader, KEY.id, clock.now()) is None


def test_an_object_that_ended_with_the_server_is_known_by_its_key(store):
    store.commit(once(new_app())).result()
    found = kept(store.reader, KEY.id, clock.now())
    assert found is not None
    assert (found.fingerprint, found.answer) == ("print", None)


def test_answers_are_kept_for_a_while(store):
    answer = KeptAnswer(201, {"Location": "/x"}, b"{}")
    store.commit(once(new_app())).result()
    store.commit(KeepAnswer(key=KEY, answer=answer, at=clock.now())).result()
    found = kept(store.reader, KEY.id, clock.now())
    assert found is not None
    assert found.answer == answer
    assert kept(store.reader, KEY.id, clock.now() + ANSWERS_KEPT) is None
    assert store.commit(ForgetAnswers(before=clock.now() - ANSWERS_KEPT, most=9)).result() == 0
    assert store.commit(ForgetAnswers(before=clock.now() + timedelta(seconds=1), most=9)).result() == 1
    assert kept(store.reader, KEY.id, clock.now()) is None


def test_a_change_from_another_revision_is_refused(store):
    app = store.commit(new_app()).result()

    def change(revision: int) -> IfRevision:
        return IfRevision(operation=new_app("two"), kind=App, id=app.id, revision=revision)

    with pytest.raises(PreconditionFailed, match="revision 1, not 2"):
        store.commit(change(2)).result()
    assert store.commit(change(1)).result().name == "two"


# ---- tokens -------------------------------------------------------------------------------------------------


def new_token(secret: str, **changes) -> CreateToken:
    given = {"name": "ci", "scope": Scope.DEPLOY, "app_id": None, "prefix": secret[:11]} | changes
    return CreateToken(digest=digest(secret), at=clock.now(), **given)


def test_a_token_is_found_by_its_secret_and_the_secret_is_nowhere(store, tmp_path):
    secret = new_secret("pd")
    made = store.commit(new_token(secret)).result()
    assert token_by_digest(store.reader, digest(secret)) == token_by_id(store.reader, made.id) == made
    assert token_by_digest(store.reader, digest(new_secret("pd"))) is None
    assert all_tokens(store.reader) == [made]
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret[:11].encode() in everything
    assert secret[11:].encode() not in everything


def test_secrets_are_long_and_differ():
    assert len({new_secret("pd") for _ in range(100)}) == 100
    assert len(new_secret("pd")) == 46


def test_revoked_is_revoked_for_good(store):
    secret = new_secret("pd")
    made = store.commit(new_token(secret)).result()
    assert any_valid(store.reader)
    revoked = store.commit(RevokeToken(id=made.id, at=clock.now())).result()
    again = store.commit(RevokeToken(id=made.id, at=clock.now() + timedelta(hours=1))).result()
    assert again == revoked == token_by_digest(store.reader, digest(secret))
    assert revoked.revoked_at is not None
    assert (made.revision, revoked.revision) == (1, 2)
    assert not any_valid(store.reader)


def test_use_is_remembered_and_raises_no_revision(store):
    made = store.commit(new_token(new_secret("pd"))).result()
    at = clock.now()
    store.commit(TokenUsed(id=made.id, at=at)).result()
    found = token_by_id(store.reader, made.id)
    assert found is not None
    assert (found.last_used_at, found.revision) == (at, 1)


def test_what_is_not_there(store):
    with pytest.raises(NotFound):
        store.commit(new_token(new_secret("pd"), app_id=new_id())).result()
    with pytest.raises(NotFound):
        store.commit(RevokeToken(id=new_id(), at=clock.now())).result()


def test_scopes_include_what_is_below():
    assert [scope.included for scope in Scope] == [
        (Scope.READ,),
        (Scope.READ, Scope.DEPLOY),
        (Scope.READ, Scope.DEPLOY, Scope.ADMIN),
    ]
