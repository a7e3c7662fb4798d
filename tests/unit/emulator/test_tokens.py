"""Tests of access and transfer tokens."""

from pathlib import Path

import jwt
import pytest

from cs3fuse.emulator.clock import Clock
from cs3fuse.emulator.state import State
from cs3fuse.emulator.tokens import BadTokenError, TokenMaker
from cs3fuse.emulator.users import Directory


@pytest.fixture
def made(tmp_path: Path):
    state = State(tmp_path / "state.sqlite")
    clock = Clock()
    directory = Directory({"einstein": "relativity"}, "http://idp", uuid_ids=False)
    yield TokenMaker(state, clock, directory, 100.0, 50.0), clock, directory, state
    state.close()


def test_a_token_says_whose_it_is_and_when_it_ends(made) -> None:
    """Clients read `exp` and the user from the claims without verifying them."""
    maker, _, directory, _ = made
    token = maker.access_token(directory.named("einstein"))
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == ["reva"]
    assert claims["user"]["username"] == "einstein"
    assert claims["exp"] - claims["iat"] == 100
    assert claims["scope"]["user"]["role"] == 1
    assert maker.check_access(token).user.name == "einstein"


def test_a_token_ends_with_the_clock_and_on_request(made) -> None:
    """Both the skewed clock and the knob make a token useless; a new one works again."""
    maker, clock, directory, _ = made
    user = directory.named("einstein")
    token = maker.access_token(user)
    clock.skew_s = 103.0
    with pytest.raises(BadTokenError):
        maker.check_access(token)
    assert maker.check_access(token, leeway_s=5.0).user is user
    clock.skew_s = 0.0
    maker.expire_all()
    with pytest.raises(BadTokenError):
        maker.check_access(token)
    assert maker.check_access(maker.access_token(user)).user is user


def test_a_token_outlives_a_restart_and_an_expired_one_does_not_come_back(made) -> None:
    """Secret and expiry are in the state."""
    maker, clock, directory, state = made
    user = directory.named("einstein")
    old = maker.access_token(user)
    maker.expire_all()
    live = maker.access_token(user)
    again = TokenMaker(state, clock, directory, 100.0, 50.0)
    assert again.check_access(live).user.name == "einstein"
    with pytest.raises(BadTokenError):
        again.check_access(old)


@pytest.mark.parametrize("token", ["", "junk", "a.b.c"])
def test_junk_is_no_token(made, token: str) -> None:
    """Anything not signed by this gateway is refused, as a transfer token too."""
    maker = made[0]
    with pytest.raises(BadTokenError):
        maker.check_access(token)
    with pytest.raises(BadTokenError):
        maker.check_transfer(token)


def test_a_transfer_token_is_no_access_token_and_ends(made) -> None:
    """The two kinds cannot stand for each other, and each has its own life."""
    maker, clock, _, _ = made
    token = maker.transfer_token("http://gateway/data/simple/x", "7")
    assert maker.check_transfer(token)[:2] == ("http://gateway/data/simple/x", "7")
    with pytest.raises(BadTokenError):
        maker.check_access(token)
    clock.skew_s = 60.0
    with pytest.raises(BadTokenError):
        maker.check_transfer(token)
