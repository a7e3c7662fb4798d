"""What a site remembers of the mesh: shares sent, shares received, invitations, users of other sites.

Owns these records, kept in the state. Used by the other `ocm_` modules on the server's loop only.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from cs3fuse.emulator.state import State

PENDING, ACCEPTED, REJECTED = 1, 2, 3


@dataclass
class SentShare:
    """A share of something here with a user of another site.

    Args:
        token: the secret that the other site shows.
        resource: storage id, space id, opaque id.
        owner: opaque id of a user here; `grantee` one of a user of `site`.
        grantee_type: type of the grantee's id, as the owner gave it.
        permissions: names of the fields of ResourcePermissions.
        requirements: "must-exchange-token" or nothing.
        expires_s: [s since the epoch]; 0 never. Not enforced, as measured.
        received_id: the share's id at the other site, which only this emulator tells.

    """

    id: str
    token: str
    resource: tuple[str, str, str]
    name: str
    owner: str
    grantee: str
    site: str
    grantee_type: int
    permissions: list[str]
    requirements: list[str]
    created_ns: int
    expires_s: float = 0.0
    received_id: str = ""


@dataclass
class GotShare:
    """A share of something at another site with a user here.

    Args:
        remote_id: the share's id at the other site.
        owner: opaque id of a user of `site`; `grantee` one of a user here.
        secret: what to show at the other site.
        permissions: "read", "write", as they were when the share came; later changes are not told.
        uri: where the content is.

    """

    id: str
    remote_id: str
    name: str
    owner: str
    site: str
    grantee: str
    secret: str
    permissions: list[str]
    uri: str
    is_folder: bool
    created_ns: int
    expires_s: float = 0.0
    requirements: list[str] = field(default_factory=list)
    state: int = PENDING


@dataclass
class Invite:
    """An invitation by a user here, which users of other sites can accept."""

    token: str
    user: str
    expires_s: float
    description: str
    accepted_by: list[str] = field(default_factory=list)


@dataclass
class Friend:
    """A user of another site whom a user here may share with."""

    user: str
    opaque_id: str
    site: str
    mail: str
    display_name: str


Record = TypeVar("Record", SentShare, GotShare, Invite, Friend)


class Shelf(Generic[Record]):
    """Records of one kind by key."""

    def __init__(self, state: State, bucket: str, kind: type[Record]) -> None:
        self._state = state
        self._bucket = bucket
        self._records: dict[str, Record] = {key: kind(**_thawed(values)) for key, values in state.load(bucket).items()}

    def all(self) -> list[Record]:
        """Every record, in no order."""
        return list(self._records.values())

    def get(self, key: str) -> Record | None:
        """The record with this key."""
        return self._records.get(key)

    def put(self, key: str, record: Record) -> None:
        """Add or change a record."""
        self._records[key] = record
        self._state.put(self._bucket, key, asdict(record))

    def drop(self, key: str) -> None:
        """Remove a record; a missing one is no error."""
        self._records.pop(key, None)
        self._state.drop(self._bucket, key)


def _thawed(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"resource": tuple(values["resource"])} if "resource" in values else values


class MeshBook:
    """All records of one site."""

    def __init__(self, state: State) -> None:
        self.sent = Shelf(state, "ocm.sent", SentShare)
        self.got = Shelf(state, "ocm.got", GotShare)
        self.invites = Shelf(state, "ocm.invites", Invite)
        self._friends = Shelf(state, "ocm.friends", Friend)

    def befriend(self, friend: Friend) -> bool:
        """Remember a user of another site; tells whether they were unknown."""
        key = f"{friend.user} {friend.opaque_id}@{friend.site}"
        new = self._friends.get(key) is None
        self._friends.put(key, friend)
        return new

    def forget(self, friend: Friend) -> None:
        """Forget a user of another site."""
        self._friends.drop(f"{friend.user} {friend.opaque_id}@{friend.site}")

    def friends(self, user: str) -> list[Friend]:
        """Whom a user here may share with."""
        return [friend for friend in self._friends.all() if friend.user == user]

    def friend(self, user: str, opaque_id: str, site: str) -> Friend | None:
        """A user of another site, if known to this user."""
        return self._friends.get(f"{user} {opaque_id}@{site}")
