"""Who may sign in, and with which kind of secret.

Owns the users of one gateway: their ids, their secrets of each authentication type. Called by `profiles` for
Authenticate and the user look-ups. Built once, then only application passwords are added, from the server's loop.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cs3fuse.emulator.proto import user_pb

MACHINE_SECRET = "machine-secret"  # noqa: S105 - a well-known secret of a test server
"""The api key of authentication type `machine`."""

_DISPLAY = {"einstein": "Albert Einstein", "marie": "Marie Curie", "richard": "Richard Feynman"}
_GROUPS = {"einstein": ["physicists"], "marie": ["physicists"], "richard": ["physicists"]}
_NAMESPACE = uuid.UUID("6f6b1b1e-0c53-5a0f-9d35-1f0fd5f7a1c4")


@dataclass(frozen=True)
class User:
    """One user. `opaque_id` is the name (reva, eos) or a UUID made from it (opencloud)."""

    name: str
    opaque_id: str
    display_name: str
    idp: str
    uid: int
    gid: int
    groups: tuple[str, ...]
    mail_verified: bool = True

    @property
    def mail(self) -> str:
        """The mail address."""
        return f"{self.name}@example.org"

    def identifier(self) -> Any:
        """The UserId message."""
        return user_pb.UserId(idp=self.idp, opaque_id=self.opaque_id, type=user_pb.USER_TYPE_PRIMARY)

    def message(self) -> Any:
        """The User message."""
        return user_pb.User(
            id=self.identifier(),
            username=self.name,
            mail=self.mail,
            mail_verified=self.mail_verified,
            display_name=self.display_name,
            groups=list(self.groups),
            uid_number=self.uid,
            gid_number=self.gid,
        )


class Directory:
    """The users by name and by id, and the secrets that sign them in."""

    def __init__(self, passwords: Mapping[str, str], idp: str, *, uuid_ids: bool, same_uid: bool = False) -> None:
        self.idp = idp
        self.passwords = dict(passwords)
        self.app_passwords: dict[str, str] = {f"{name}-app-password": name for name in passwords}
        self.bearer_tokens: dict[str, str] = {f"{name}-oidc-token": name for name in passwords}
        self._by_name: dict[str, User] = {}
        for number, name in enumerate(passwords):
            self._by_name[name] = User(
                name=name,
                opaque_id=str(uuid.uuid5(_NAMESPACE, name)) if uuid_ids else name,
                display_name=_DISPLAY.get(name, name.capitalize()),
                idp=idp,
                uid=99 if same_uid else 1000 + number,
                gid=99 if same_uid else 1000,
                groups=() if uuid_ids else tuple(_GROUPS.get(name, [])),
                mail_verified=not uuid_ids,
            )
        self._by_id = {user.opaque_id: user for user in self._by_name.values()}

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def named(self, name: str) -> User | None:
        """The user with this name."""
        return self._by_name.get(name)

    def identified(self, opaque_id: str) -> User | None:
        """The user with this id."""
        return self._by_id.get(opaque_id)

    def claimed(self, claim: str, value: str) -> User | None:
        """The user with this value of a claim: username, mail, userid, uid or gid."""
        for user in self._by_name.values():
            values = {
                "username": user.name,
                "mail": user.mail,
                "userid": user.opaque_id,
                "uid": str(user.uid),
                "gid": str(user.gid),
            }
            if values.get(claim) == value:
                return user
        return None

    def found(self, text: str) -> list[User]:
        """Users whose name, display name or mail contains the text."""
        needle = text.lower()
        return [user for user in self._by_name.values() if needle in f"{user.name} {user.display_name} {user.mail}".lower()]
