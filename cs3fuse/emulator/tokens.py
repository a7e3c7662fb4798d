"""Access tokens and transfer tokens: JSON Web Tokens as Reva makes them.

Owns the signing secret (kept in the state, so that tokens outlive a restart) and the moment before which every
access token counts as expired. Called from the server's loop; `expire_all` may be called from any thread.

Source: reva pkg/token/manager/jwt (claims user, scope; HS256), gateway `transferClaims` (target, version_key).
"""

import json
import secrets
from dataclasses import dataclass
from typing import Any

import jwt

from cs3fuse.emulator.clock import Clock
from cs3fuse.emulator.state import State
from cs3fuse.emulator.users import Directory, User

_ALGORITHM = "HS256"
_CACHE_LIMIT = 10_000
_USER_SCOPE = {"user": {"resource": {"decoder": "json", "value": "eyJwYXRoIjoiLyJ9"}, "role": 1}}


class BadTokenError(Exception):
    """The token is not ours, is broken, or has expired."""


@dataclass(frozen=True)
class Access:
    """What an access token says: whose it is, and through which public link, if any."""

    user: User
    expires_s: float
    number: int
    link: str | None


class TokenMaker:
    """Makes and checks tokens."""

    def __init__(self, state: State, clock: Clock, directory: Directory, token_life_s: float, transfer_life_s: float) -> None:
        stored = state.load("secret")
        if "jwt" not in stored:
            stored["jwt"] = secrets.token_hex(32)
            state.put("secret", "jwt", stored["jwt"])
        self._state = state
        self._secret: str = stored["jwt"]
        self._clock = clock
        self._directory = directory
        self.token_life_s = token_life_s
        self.transfer_life_s = transfer_life_s
        self._counter: int = stored.get("counter", 0)
        # INVARIANT: access tokens with a number up to this one have expired, whatever their `exp` says.
        self._expired_upto: int = stored.get("expired_upto", 0)
        self._cache: dict[str, Access] = {}

    def access_token(self, user: User, link: str | None = None) -> str:
        """A new access token of the user."""
        now = self._clock.now_s()
        self._counter += 1
        self._state.put("secret", "counter", self._counter)
        claims = {
            "iss": user.idp,
            "aud": ["reva"],
            "iat": int(now),
            "exp": int(now + self.token_life_s),
            "user": _user_claim(user),
            "scope": _USER_SCOPE
            if link is None
            else {f"publicshare:{link}": {"resource": {"decoder": "json", "value": ""}, "role": 5}},
            "num": self._counter,
        }
        if link is not None:
            claims["link"] = link
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def check_access(self, token: str, leeway_s: float = 0.0) -> Access:
        """Whose token this is.

        Raises:
            BadTokenError: not ours, or expired.

        """
        access = self._cache.get(token)
        if access is None:
            access = self._decode_access(token)
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.clear()
            self._cache[token] = access
        if access.number <= self._expired_upto or self._clock.now_s() > access.expires_s + leeway_s:
            raise BadTokenError("token expired")
        return access

    def _decode_access(self, token: str) -> Access:
        claims = self._decode(token)
        try:
            user = self._directory.identified(claims["user"]["id"]["opaque_id"])
            expires_s, number, link = float(claims["exp"]), int(claims["num"]), claims.get("link")
        except (KeyError, TypeError, ValueError) as error:
            raise BadTokenError("token has no user") from error
        if user is None:
            raise BadTokenError("token of an unknown user")
        return Access(user, expires_s, number, link)

    def _decode(self, token: str) -> dict[str, Any]:
        options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            return dict(jwt.decode(token, self._secret, algorithms=[_ALGORITHM], audience="reva", options=options))
        except (jwt.InvalidTokenError, UnicodeError) as error:
            raise BadTokenError(str(error)) from error

    def expire_all(self) -> None:
        """Make every access token issued so far count as expired."""
        self._expired_upto = self._counter
        self._state.put("secret", "expired_upto", self._expired_upto)

    def transfer_token(self, target: str, version_key: str = "") -> str:
        """A new transfer token for one inner data URL."""
        now = self._clock.now_s()
        claims = {
            "aud": ["reva"],
            "iat": int(now),
            "exp": int(now + self.transfer_life_s),
            "target": target,
            "version_key": version_key,
        }
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def check_transfer(self, token: str) -> tuple[str, str, float]:
        """The inner URL, version key and expiry [s since the epoch] of a transfer token.

        Raises:
            BadTokenError: not ours, or expired.

        """
        claims = self._decode(token)
        if "target" not in claims or self._clock.now_s() > claims["exp"]:
            raise BadTokenError("transfer token expired or without a target")
        return claims["target"], claims.get("version_key", ""), float(claims["exp"])


def _user_claim(user: User) -> Any:
    return json.loads(
        json.dumps(
            {
                "id": {"idp": user.idp, "opaque_id": user.opaque_id, "type": 1},
                "username": user.name,
                "mail": user.mail,
                "display_name": user.display_name,
                "groups": list(user.groups),
                "uid_number": user.uid,
                "gid_number": user.gid,
            }
        )
    )
