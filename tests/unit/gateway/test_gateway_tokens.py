"""Sessions and tokens: what is signed, what is hashed, and what a changed byte does."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from segdepth_gateway import tokens
from segdepth_gateway.__main__ import app
from segdepth_gateway.auth import Authenticator, Denied, Scope
from segdepth_gateway.session import ExpiredSession, ForeignSession, Sessions
from segdepth_gateway.settings import GatewaySettings

KEY, OLD_KEY = b"k" * 32, b"o" * 32


def test_a_session_comes_back_as_it_was_issued() -> None:
    session = Sessions((KEY,), 60, lambda: 1000.0).check(Sessions((KEY,), 60, lambda: 1000.0).issue("me", "s", 2), "me")
    assert (session.principal, session.stream, session.drop_policy, session.expires) == ("me", "s", 2, 1060.0)


def test_keys_can_be_rotated() -> None:
    old = Sessions((OLD_KEY,), 60).issue("me", "s", 1)
    Sessions((KEY, OLD_KEY), 60).check(old, "me")
    with pytest.raises(ForeignSession):
        Sessions((KEY,), 60).check(old, "me")


def test_sessions_expire_and_belong_to_one() -> None:
    token = Sessions((KEY,), 60, lambda: 0.0).issue("me", "s", 1)
    Sessions((KEY,), 60, lambda: 59.0).check(token, "me")
    with pytest.raises(ExpiredSession):
        Sessions((KEY,), 60, lambda: 61.0).check(token, "me")
    with pytest.raises(ForeignSession):
        Sessions((KEY,), 60, lambda: 0.0).check(token, "you")


@example(at=125, change=48)  # Of the last character's spare bits.
@given(st.integers(0, 400), st.integers(1, 255))
def test_no_changed_byte_is_accepted(at: int, change: int) -> None:
    sessions = Sessions((KEY,), 60, lambda: 0.0)
    token = bytearray(sessions.issue("me", "s", 1))
    token[at % len(token)] ^= change
    if bytes(token) != sessions.issue("me", "s", 1):
        with pytest.raises(ForeignSession):
            sessions.check(bytes(token), "me")


def test_the_file_holds_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = tokens.mint(path, "me", ("estimate",))
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    known = tokens.TokenFile(path).find(token)
    assert known is not None
    assert known.principal == "me"
    assert tokens.TokenFile(path).find(token + "x") is None


def test_expired_tokens_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = tokens.mint(path, "me", ("estimate",), timedelta(seconds=-1))
    assert tokens.TokenFile(path).find(token) is None


@pytest.mark.parametrize("content", ["", "{", '{"tokens": 3}', '{"tokens": [{"sha256": "secret"}]}'])
def test_a_bad_file_is_refused_at_the_start_without_quoting_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(content)
    with pytest.raises(ValueError, match="is no file of tokens") as error:
        tokens.TokenFile(path)
    assert "secret" not in str(error.value)


def test_an_unknown_scope_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scopes"):
        tokens.mint(tmp_path / "tokens", "me", ("everything",))


def test_the_scheme_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    token = tokens.mint(path, "me", ("estimate",))
    authenticator = Authenticator(GatewaySettings(tokens=path))
    assert authenticator.principal([("authorization", f"bearer {token}")]).name == "me"
    for header in (token, f"Basic {token}", "Bearer", ""):
        with pytest.raises(Denied):
            authenticator.principal([("authorization", header)])


def test_without_tokens_loopback_may_all_and_others_may_ask() -> None:
    assert Authenticator(GatewaySettings()).principal(()).scopes == set(Scope)
    exposed = Authenticator(GatewaySettings(host="0.0.0.0", insecure=True)).principal(())
    assert exposed.scopes == {Scope.ESTIMATE, Scope.BATCH}
    with pytest.raises(Denied):
        exposed.require(Scope.MODELS_WRITE)


def test_a_hand_made_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    record = {
        "sha256": tokens.hash_token("t"),
        "principal": "p",
        "scopes": ["admin"],
        "created": "2026-01-01T00:00:00Z",
    }
    path.write_text(json.dumps({"tokens": [record]}))
    assert tokens.TokenFile(path).find("t") is not None


def test_the_command_mints_and_revokes(tmp_path: Path) -> None:
    path = str(tmp_path / "tokens")
    run = CliRunner().invoke
    token = run(app, ["mint", path, "me", "--scope", "estimate", "--scope", "models:write"]).output.strip()
    known = tokens.TokenFile(Path(path)).find(token)
    assert known is not None
    assert known.scopes == ("estimate", "models:write")
    assert run(app, ["revoke", path, "me"]).exit_code == 0
    assert tokens.TokenFile(Path(path)).find(token) is None
    assert run(app, ["revoke", path, "me"]).exit_code == 1
