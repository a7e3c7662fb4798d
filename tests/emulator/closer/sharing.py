"""What the questions about shares have in common: roles, CreateShare, and the ways to address what is shared.

Used by `projects` and the `shares_*` modules.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cs3.identity.user.v1beta1 import resources_pb2 as user_pb
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as collaboration_pb
from cs3.sharing.collaboration.v1beta1 import resources_pb2 as share_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb

from tests.emulator.caller import Answer, Caller
from tests.emulator.closer.desk import absolute, below, on

VIEWER = ("get_path", "get_quota", "initiate_file_download", "list_container", "list_recycle", "stat")
_CHANGING_FILES = ("initiate_file_upload", "list_file_versions", "restore_file_version", "restore_recycle_item")
FILE_EDITOR = (*VIEWER, *_CHANGING_FILES)
EDITOR = (*VIEWER, *_CHANGING_FILES, "create_container", "delete", "move")


def user_id(caller: Caller, idp: str = "") -> Any:
    """The UserId of a caller who speaks relative to the personal space, whose id is the user's."""
    opaque_id = str(caller.root).partition("!")[2]
    return user_pb.UserId(idp=idp, opaque_id=opaque_id, type=user_pb.USER_TYPE_PRIMARY)


def share_with(owner: Caller, grantee: Caller, rid: str, permissions: Iterable[str], idp: str = "") -> Answer:
    """CreateShare of a resource with one user, described as the owner's Stat describes it."""
    info = on(owner, "Stat", below(rid)).message.info
    granted = share_pb.SharePermissions(permissions=storage_pb.ResourcePermissions(**dict.fromkeys(permissions, True)))
    who = storage_pb.Grantee(type=storage_pb.GRANTEE_TYPE_USER, user_id=user_id(grantee, idp))
    request = collaboration_pb.CreateShareRequest(resource_info=info, grant=share_pb.ShareGrant(grantee=who, permissions=granted))
    return owner.call("CreateShare", request)


@dataclass(frozen=True)
class Shared:
    """One share as its grantee may address it.

    Args:
        rid: the shared resource, `storage$space!opaque`.
        share_id: the share's own id.
        mount: the name under which it is mounted.
        path: where it lies in the owner's space, "/sh/view".

    """

    rid: str
    share_id: str
    mount: str
    path: str

    def reference(self) -> Any:
        """The share in requests about the share itself."""
        return share_pb.ShareReference(id=share_pb.ShareId(opaque_id=self.share_id))

    def ways(self, owner: Caller) -> dict[str, Callable[[str], Any]]:
        """The ways to refer to something below the share; each takes a path like "/a" or ""."""
        return {
            "resource_id+rel": lambda rel: below(self.rid, f".{rel}"),
            "path_/Shares": lambda rel: absolute(f"/Shares/{self.mount}{rel}"),
            "owner_space+path": lambda rel: below(str(owner.root), f"./sh/{self.mount}{rel}"),
        }
