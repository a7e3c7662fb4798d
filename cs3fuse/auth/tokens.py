"""Access tokens: signing in, renewing ahead of expiry, once for everybody who waits.

Owns the current token. ``client`` asks for it through ``ports.TokenSource`` before each call, from the trio thread. Knows nothing of gRPC:
it is given a function that signs in.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import trio

from cs3fuse.auth.secrets import Secret
from cs3fuse.errors import Cs3FuseError, SignInError

_log = structlog.get_logger(__name__)

METHODS = ("basic", "bearer", "appauth", "machine", "publicshares")
"""Sign-in types that a person may choose. They are names of the site's configuration; these are the usual ones."""

_RENEW_AT = 0.8
# Where a token does not say how long it lives: the server will refuse it when it is over.
_UNKNOWN_LIFE_S = 3600.0
# A token that is refused this soon after it was issued is not improved by another one.
_MIN_INTERVAL_S = 5.0
# A refused secret is not tried again at each request: servers lock accounts.
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0

Authenticate = Callable[[str, str, str], Awaitable[str]]
"""Signs in with (type, client id, secret) and returns a token. Raises: SignInError, UnavailableError, DeadlineError."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to sign in: the type, the user (client id) and the secret."""

    method: str
    user: str
    secret: Secret

    def client_secret(self) -> str:
        """The secret in the form of its type. Raises: SignInError."""
        secret = self.secret.reveal()
        if self.method == "publicshares" and not secret.startswith(("password|", "signature|")):
            # Source: Reva pkg/auth/manager/publicshares.
            return f"password|{secret}"
        return secret

    @property
    def client_id(self) -> str:
        """The user as the type wants it: bearer tokens name their user themselves."""
        return "" if self.method == "bearer" else self.user


class RenewingTokens:
    """``ports.TokenSource`` that signs in on demand and again at 80 % of a token's life."""

    def __init__(self, authenticate: Authenticate, login: Login, *, now: Callable[[], float] = time.time) -> None:
        self._authenticate = authenticate
        self._login = login
        self._now = now
        self._lock = trio.Lock()
        self._token = ""
        self._issued_at = 0.0
        self._renew_at = 0.0
        self._expires_at = 0.0
        self._failure: SignInError | None = None
        self._failed_secret = ""
        self._pause_s = 0.0
        self._next_try_at = 0.0

    async def token(self) -> str:
        """See the port. While the old token is still good, a renewal that fails is only logged and tried again later."""
        if self._token and self._now() < self._renew_at:
            return self._token
        async with self._lock:
            now = self._now()
            if self._token and now < self._renew_at:
                return self._token
            if not self._token or now >= self._expires_at:
                return await self._sign_in()
            try:
                return await self._sign_in()
            except Cs3FuseError as exc:
                self._renew_at = min(self._expires_at, now + _pause_before_expiry(self._expires_at - now))
                _log.warning("token_not_renewed", reason=str(exc), still_good_s=round(self._expires_at - now))
                return self._token

    async def renew(self, refused: str) -> str:
        """See the port.

        Raises: SignInError: also when the token was issued only seconds ago; another one would be refused as well.
        """
        async with self._lock:
            if self._token and self._token != refused:
                return self._token
            age_s = self._now() - self._issued_at
            if self._token and 0 <= age_s < _MIN_INTERVAL_S:
                raise SignInError(f"The server refuses the access token that it issued {age_s:.0f} s ago.")
            return await self._sign_in()

    async def _sign_in(self) -> str:
        """Sign in once. INVARIANT: the caller holds the lock."""
        secret = self._login.client_secret()
        now = self._now()
        if self._failure is not None and secret == self._failed_secret and now < self._next_try_at:
            raise SignInError(str(self._failure), call=self._failure.call, trace=self._failure.trace)
        try:
            token = await self._authenticate(self._login.method, self._login.client_id, secret)
        except SignInError as exc:
            self._remember_failure(exc, secret)
            raise
        self._failure, self._failed_secret, self._pause_s = None, "", 0.0
        self._token = token
        self._issued_at = self._now()
        life_s = token_life_s(token)
        # Counted from now on our clock: the server's may be off.
        self._expires_at = self._issued_at + life_s
        self._renew_at = self._issued_at + life_s * _RENEW_AT
        _log.info("signed_in", method=self._login.method, life_s=round(life_s))
        return token

    def _remember_failure(self, failure: SignInError, secret: str) -> None:
        self._pause_s = (
            min(self._pause_s * 2, _LONGEST_PAUSE_S) if self._failed_secret == secret and self._pause_s else _FIRST_PAUSE_S
        )
        self._failure, self._failed_secret = failure, secret
        self._next_try_at = self._now() + self._pause_s


def token_life_s(token: str) -> float:
    """How long a token lives, from ``iat`` to ``exp``, read without verifying; 3600 s where it does not say (seconds, above 0).

    Source: RFC 7519 section 4.1; Reva pkg/token/manager/jwt sets both.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        life_s = float(claims["exp"]) - float(claims["iat"])
    except (IndexError, ValueError, KeyError, TypeError):
        return _UNKNOWN_LIFE_S
    return life_s if 0 < life_s < 1e10 else _UNKNOWN_LIFE_S


def _pause_before_expiry(remaining_s: float) -> float:
    """When to try again a renewal that failed: a tenth of what is left, between 5 s and 5 minutes."""
    return min(max(remaining_s / 10, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
