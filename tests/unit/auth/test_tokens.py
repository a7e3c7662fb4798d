"""When tokens are renewed, how often, and what happens when that fails."""

from __future__ import annotations

from dataclasses import dataclass, field

import jwt
import pytest
import trio

from cs3fuse.auth.secrets import FixedSecret
from cs3fuse.auth.tokens import Login, RenewingTokens, token_life_s
from cs3fuse.errors import SignInError, UnavailableError

LIFE_S = 1000


@dataclass
class Site:
    """Signs in and keeps the time."""

    time: float = 5000.0
    life_s: float = LIFE_S
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    failure: Exception | None = None
    gate: trio.Event | None = None

    def now(self) -> float:
        return self.time

    async def authenticate(self, method: str, client_id: str, secret: str) -> str:
        self.asked.append((method, client_id, secret))
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        # The server's clock is an hour off, as clocks are.
        issued = self.time + 3600
        return jwt.encode({"iat": issued, "exp": issued + self.life_s, "n": len(self.asked)}, "k" * 32, algorithm="HS256")


@dataclass
class ChangingSecret:
    value: str

    def reveal(self) -> str:
        return self.value


@pytest.fixture
def site() -> Site:
    return Site()


def tokens_of(site: Site, secret: object = None, method: str = "basic") -> RenewingTokens:
    return RenewingTokens(site.authenticate, Login(method, "einstein", secret or FixedSecret("relativity")), now=site.now)


async def test_signed_in_once_and_renewed_at_80_percent(site: Site) -> None:
    """Not before, and not after the end; counted on our clock."""
    tokens = tokens_of(site)
    first = await tokens.token()
    site.time += 0.79 * LIFE_S
    assert await tokens.token() == first
    site.time += 0.02 * LIFE_S
    assert await tokens.token() != first
    assert len(site.asked) == 2


async def test_many_waiters_one_sign_in(site: Site) -> None:
    """A hundred calls at the start are one Authenticate."""
    site.gate = trio.Event()
    tokens = tokens_of(site)
    got: list[str] = []

    async def get() -> None:
        got.append(await tokens.token())

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(get)
        await trio.testing.wait_all_tasks_blocked()
        site.gate.set()
    assert len(site.asked) == 1
    assert len(set(got)) == 1


async def test_many_refusals_one_renewal(site: Site) -> None:
    """Calls that were refused together share the new token."""
    tokens = tokens_of(site)
    old = await tokens.token()
    site.time += 60
    got: list[str] = []

    async def renew() -> None:
        got.append(await tokens.renew(old))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(renew)
    assert len(site.asked) == 2
    assert set(got) == {await tokens.token()}
    assert old not in got


async def test_a_token_refused_right_after_it_was_issued_is_not_renewed(site: Site) -> None:
    """A server that refuses what it issues is not asked in a loop."""
    tokens = tokens_of(site)
    for _ in range(5):
        with pytest.raises(SignInError):
            await tokens.renew(await tokens.token())
    assert len(site.asked) == 1


async def test_a_renewal_that_fails_leaves_the_good_token(site: Site) -> None:
    """The sign-in service may be away for a fifth of the life before anybody notices."""
    tokens = tokens_of(site)
    first = await tokens.token()
    site.time += 0.85 * LIFE_S
    site.failure = UnavailableError("away")
    assert await tokens.token() == first
    assert await tokens.token() == first
    assert len(site.asked) == 2
    site.time += 0.05 * LIFE_S
    site.failure = None
    assert await tokens.token() != first


async def test_after_the_end_the_failure_is_told(site: Site) -> None:
    """An expired token is not handed out."""
    tokens = tokens_of(site)
    await tokens.token()
    site.time += 1.01 * LIFE_S
    site.failure = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await tokens.token()


async def test_a_refused_secret_is_not_sent_at_every_call(site: Site) -> None:
    """Servers lock accounts: a wrong password is tried at growing intervals, the failure told at once meanwhile."""
    site.failure = SignInError("wrong password")
    tokens = tokens_of(site)
    for _ in range(10):
        with pytest.raises(SignInError, match="wrong password"):
            await tokens.token()
    assert len(site.asked) == 1
    for _ in range(3600):
        site.time += 1
        with pytest.raises(SignInError):
            await tokens.token()
    assert len(site.asked) < 25


async def test_a_changed_secret_is_tried_at_once(site: Site) -> None:
    """A token file that somebody renewed ends the wait."""
    secret = ChangingSecret("old")
    site.failure = SignInError("expired")
    tokens = tokens_of(site, secret)
    with pytest.raises(SignInError):
        await tokens.token()
    secret.value, site.failure = "new", None
    assert await tokens.token()
    assert [asked[2] for asked in site.asked] == ["old", "new"]


async def test_the_secret_is_revealed_at_each_renewal(site: Site) -> None:
    """Not only when its file's time changed."""
    secret = ChangingSecret("one")
    tokens = tokens_of(site, secret, "bearer")
    await tokens.token()
    secret.value = "two"
    site.time += 0.9 * LIFE_S
    await tokens.token()
    assert site.asked == [("bearer", "", "one"), ("bearer", "", "two")]


@pytest.mark.parametrize(
    ("method", "given", "sent", "client_id"),
    [
        ("basic", "pw", "pw", "einstein"),
        ("appauth", "pw", "pw", "einstein"),
        ("machine", "key", "key", "einstein"),
        ("bearer", "jwt", "jwt", ""),
        ("publicshares", "pw", "password|pw", "einstein"),
        ("publicshares", "password|pw", "password|pw", "einstein"),
        ("publicshares", "signature|s|t", "signature|s|t", "einstein"),
    ],
)
async def test_the_forms_of_the_types(site: Site, method: str, given: str, sent: str, client_id: str) -> None:
    """Public links want the kind of secret in front, bearer tokens no user."""
    await tokens_of(site, FixedSecret(given), method).token()
    assert site.asked == [(method, client_id, sent)]


async def test_a_cancelled_sign_in_holds_nobody(site: Site) -> None:
    """The next one signs in itself."""
    site.gate = trio.Event()
    tokens = tokens_of(site)
    with trio.move_on_after(0):
        await tokens.token()
    site.gate = None
    assert await tokens.token()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "opaque",
        "a.b.c",
        "..",
        "a.e30.c",
        jwt.encode({"exp": 5, "iat": 9}, "k" * 32),
        jwt.encode({"exp": "x", "iat": 1}, "k" * 32),
    ],
)
def test_tokens_that_do_not_say_how_long_they_live(token: str) -> None:
    """A guess instead of a crash: the server will refuse it in time."""
    assert token_life_s(token) == 3600.0


def test_the_life_of_a_token() -> None:
    """From the claims, unverified: the key is the server's."""
    assert token_life_s(jwt.encode({"iat": 100, "exp": 86500}, "k" * 32)) == 86400.0
