"""Sessions of browsers: new at every sign-in, ended for good, and no key in any of them."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import timedelta
from zlib import decompress

import pytest
from flask import Flask
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from simpledrive import sessions
from simpledrive.errors import InvalidToken
from simpledrive.keys import NewKey
from simpledrive.models import ApiKey, EndedSession, now
from simpledrive.parts import Parts
from simpledrive.rights import SERVER, Origin
from simpledrive.sessions import LIFETIME, Ticket
from tests.apps import TOKEN
from tests.visitors import Visitor

MakeApp = Callable[..., Flask]


def cookie(visitor: Visitor) -> str:
    found = visitor.client.get_cookie("simpledrive")
    assert found is not None
    return found.value


def content(cookie: str) -> dict[str, object]:
    """What anybody can read in a session's cookie: it is signed, not encrypted."""
    packed = cookie.lstrip(".").split(".")[0]
    data = urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
    return json.loads(decompress(data) if cookie.startswith(".") else data)


def is_signed_in(visitor: Visitor) -> bool:
    return visitor.get("/drive/files/").status_code == 200


def copy_of(app: Flask, visitor: Visitor) -> Visitor:
    """Another browser, into which somebody has copied this one's cookie."""
    other = Visitor(app)
    other.client.set_cookie("simpledrive", cookie(visitor))
    return other


def actions(parts: Parts) -> list[str]:
    return [entry.action for entry in reversed(parts.audit.page(SERVER).entries)]


# --- Signing in


def test_a_session_holds_nothing_that_is_a_key(app: Flask, parts: Parts, visitor: Visitor) -> None:
    key, credential = parts.keys.issue(SERVER, NewKey("mine", scopes=["read"]))
    other = Visitor(app)
    other.sign_in(credential)
    for someone, secret, key_id in ((visitor, TOKEN, None), (other, credential, key.id)):
        held = content(cookie(someone))
        assert set(held) <= {"ticket", "csrf_token", "_permanent"}
        assert set(held["ticket"]) == {"id", "key_id", "until"}
        assert secret not in str(held)
        assert key.digest not in str(held)
        if key_id:
            assert held["ticket"]["key_id"] == key_id


def test_every_sign_in_begins_a_session_of_its_own(app: Flask, visitor: Visitor) -> None:
    seen = {content(cookie(visitor))["ticket"]["id"]}
    tokens = {content(cookie(visitor))["csrf_token"]}
    for _ in range(3):
        visitor.sign_in()
        visitor.get("/drive/files/")
        seen.add(content(cookie(visitor))["ticket"]["id"])
        tokens.add(content(cookie(visitor))["csrf_token"])
    assert len(seen) == len(tokens) == 4


def test_a_form_of_the_session_before_is_no_longer_valid(visitor: Visitor) -> None:
    before = visitor.token
    visitor.sign_in()
    refused = visitor.post("/drive/settings/theme", {"csrf_token": before, "theme": "dark"})
    assert refused.status_code == 400


def test_signing_in_anew_ends_the_session_before(app: Flask, parts: Parts, visitor: Visitor) -> None:
    copied = copy_of(app, visitor)
    assert is_signed_in(copied)
    visitor.sign_in()
    assert is_signed_in(visitor)
    assert not is_signed_in(copied)
    assert actions(parts) == ["session.begun", "session.ended", "session.begun"]


def test_a_wrong_key_leaves_the_session_as_it_is(parts: Parts, visitor: Visitor) -> None:
    assert visitor.sign_in("wrong").status_code == 401
    assert is_signed_in(visitor)
    assert actions(parts) == ["session.begun"]


def test_a_planted_cookie_is_not_the_session_that_begins(app: Flask, visitor: Visitor) -> None:
    """Who plants a cookie of his own in somebody's browser is not signed in with him."""
    attacker = Visitor(app)
    attacker.get("/drive/sign-in")
    victim = copy_of(app, attacker)
    victim.sign_in()
    assert is_signed_in(victim)
    assert not is_signed_in(attacker)


# --- The cookie


@pytest.mark.parametrize(
    ("settings", "base_url", "secure"),
    [
        ({}, "http://localhost", False),
        ({}, "https://localhost", True),
        ({"secure_cookies": True}, "http://localhost", True),
    ],
    ids=["plain", "behind TLS", "as the settings say"],
)
def test_the_cookie_is_kept_from_scripts_and_from_plain_connections(
    make_app: MakeApp, settings: dict[str, object], base_url: str, secure: bool
) -> None:
    stranger = Visitor(make_app(**settings))
    written = stranger.get("/drive/sign-in", base_url=base_url).headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(written)
    assert ("Secure" in written) is secure
    assert not any(part.startswith("Domain") for part in written)


def test_the_cookie_is_not_written_again_with_each_page(app: Flask) -> None:
    visitor = Visitor(app)
    visitor.sign_in(stay="1")
    visitor.get("/drive/files/")
    assert "Set-Cookie" not in visitor.get("/drive/files/").headers


def test_forged_cookies_are_strangers(app: Flask, make_app: MakeApp, visitor: Visitor) -> None:
    genuine = cookie(visitor)
    body, _, signature = genuine.rpartition(".")
    elsewhere = Visitor(make_app(secret_key="another"))
    elsewhere.sign_in()
    for forged in (
        "",
        "x",
        body,
        "." * 1000,
        genuine[:-1] + ("A" if genuine[-1] != "A" else "B"),
        genuine[1:],
        "x" + genuine,
        body + "." + signature[::-1],
        cookie(elsewhere),
        "\xff" * 100,
        "A" * 4000,
    ):
        other = Visitor(app)
        other.client.set_cookie("simpledrive", forged)
        assert other.get("/drive/files/").status_code == 303, forged


# --- Its end


def test_signing_out_ends_every_copy_of_the_cookie(app: Flask, parts: Parts, visitor: Visitor) -> None:
    copies = [copy_of(app, visitor) for _ in range(2)]
    token = {"X-CSRFToken": visitor.token}
    assert all(is_signed_in(copy) for copy in copies)
    assert visitor.post("/drive/sign-out").headers["Location"] == "/drive/sign-in"
    assert not is_signed_in(copies[0])
    assert copies[1].client.get("/v1/blobs", headers=token).status_code == 401
    assert actions(parts) == ["session.begun", "session.ended"]


def test_signing_out_ends_no_other_session(app: Flask, visitor: Visitor) -> None:
    other = Visitor(app)
    other.sign_in()
    visitor.post("/drive/sign-out")
    assert is_signed_in(other)


def test_a_session_ends_with_its_key(app: Flask, parts: Parts) -> None:
    def expire(session: Session) -> None:
        session.execute(update(ApiKey).where(ApiKey.id == issued[2][0].id).values(expires_at=now()))

    issued = [parts.keys.issue(SERVER, NewKey(f"key {number}")) for number in range(3)]
    visitors = [Visitor(app) for _ in issued]
    for visitor, (_, credential) in zip(visitors, issued, strict=True):
        visitor.sign_in(credential)
        assert is_signed_in(visitor)
    parts.keys.revoke(SERVER, issued[0][0].id)
    parts.keys.remove(SERVER, issued[1][0].id)
    parts.database.write(expire)
    for visitor in visitors:
        answer = visitor.get("/drive/files/a/")
        assert answer.headers["Location"] == "/drive/sign-in?next=/drive/files/a/"
        assert "ticket" not in str(visitor.client.get_cookie("simpledrive"))


def test_a_session_has_an_end_however_much_it_is_used(parts: Parts) -> None:
    ticket = parts.sessions.begin(SERVER)
    assert LIFETIME - timedelta(minutes=1) < ticket.ends_at - now() <= LIFETIME
    old = Ticket(ticket.id, ticket.key_id, int(now().timestamp()) - 1)
    with pytest.raises(InvalidToken):
        parts.sessions.resume(old, Origin())


def test_ending_twice_is_logged_once(any_parts: Parts) -> None:
    caller = any_parts.keys.verify(TOKEN)
    ticket = any_parts.sessions.begin(caller)
    for _ in range(2):
        any_parts.sessions.end(caller, ticket)
    assert actions(any_parts) == ["session.begun", "session.ended"]
    with pytest.raises(InvalidToken):
        any_parts.sessions.resume(ticket, Origin())


def test_an_ended_session_is_remembered_as_long_as_its_cookie_could_count(any_parts: Parts) -> None:
    caller = any_parts.keys.verify(TOKEN)
    ended, past = any_parts.sessions.begin(caller), Ticket("past", caller.key_id, 1)
    for ticket in (ended, past):
        any_parts.sessions.end(caller, ticket)
    any_parts.upkeep.sweep()
    left = any_parts.database.read(lambda session: session.scalars(select(EndedSession.id)).all())
    assert left == [ended.id]
    any_parts.database.write(sessions.expire)
    assert any_parts.database.read(lambda session: session.scalar(select(func.count(EndedSession.id)))) == 1


def test_an_open_drive_shows_the_door_once_to_whose_session_ended(make_app: MakeApp) -> None:
    visitor = Visitor(app := make_app(anonymous_access="read"))
    parts: Parts = app.extensions["simpledrive"]
    key, credential = parts.keys.issue(SERVER, NewKey("mine"))
    visitor.sign_in(credential)
    parts.keys.revoke(SERVER, key.id)
    assert visitor.get("/drive/files/").status_code == 303
    assert "Not signed in" in visitor.get("/drive/files/").text
