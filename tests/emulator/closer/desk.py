"""The desk of the closer look: three users of one gateway, a notebook, and the shapes in which answers were recorded.

Called by the modules beside it, one per topic of `opencloud-shares.jsonl`. One desk, one thread.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from google.protobuf.json_format import MessageToDict

from cs3fuse.emulator.server import EmulatorThread
from tests.emulator.caller import Answer, Caller, Endpoint, HttpAnswer, Transfer, endpoints, parse_id, simple
from tests.emulator.notebook import Notebook
from tests.emulator.recorded import Fact

if TYPE_CHECKING:
    from tests.emulator.closer.sharing import Shared

HEADERS = frozenset(
    {
        "accept-ranges",
        "content-disposition",
        "content-length",
        "content-type",
        "etag",
        "last-modified",
        "oc-etag",
        "oc-fileid",
    }
)
"""The headers that were noted in the closer look."""


class Desk(Notebook):
    """Three users of one gateway.

    Args:
        gateway: the emulator, for its clock and its habits.
        admin: signed in, speaks relative to the personal space.
        alan: not signed in yet.
        marie: not signed in yet.

    The root of admin's project space and the shares given to alan are noted here once they exist.
    """

    def __init__(self, gateway: EmulatorThread, admin: Caller, alan: Caller, marie: Caller) -> None:
        super().__init__()
        self.gateway = gateway
        self.admin = admin
        self.alan = alan
        self.marie = marie
        self.project = ""
        self.shared: dict[str, Shared] = {}


# -- references


def below(root: str, path: str = ".") -> Any:
    """A reference relative to `storage$space!opaque`; the path begins with a dot."""
    return storage_pb.Reference(resource_id=parse_id(root), path=path)


def bare(root: str) -> Any:
    """A reference that is an id and nothing else."""
    return storage_pb.Reference(resource_id=parse_id(root))


def absolute(path: str) -> Any:
    """A reference that is a path and nothing else."""
    return storage_pb.Reference(path=path)


def on(caller: Caller, rpc: str, reference: Any, **fields: Any) -> Answer:
    """Call a method of the provider API with a ready reference."""
    return caller.call(rpc, getattr(provider_pb, f"{rpc}Request")(ref=reference, **fields))


def home_path(caller: Caller) -> str:
    """The absolute path of the home of a caller who speaks relative to the personal space."""
    return "/users/" + str(caller.root).partition("!")[2]


# -- shapes


def id_text(rid: Any) -> str:
    """A ResourceId as `storage$space!opaque`."""
    return f"{rid.storage_id}${rid.space_id}!{rid.opaque_id}"


def permission_names(permission_set: Any) -> list[str]:
    """The permissions that are granted, in the order of the protocol."""
    return [field.name for field in permission_set.DESCRIPTOR.fields if getattr(permission_set, field.name)]


def plain(message: Any) -> Fact:
    """A message as JSON, its opaques as plain text, as the closer look noted them."""
    return dict(_plain_opaques(MessageToDict(message)))


def opaque_fact(opaque: Any) -> Fact | None:
    """An Opaque as plain text; None if it is empty."""
    return _plain_opaques(MessageToDict(opaque)) or None


def _plain_opaques(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"map"}:
            return {key: base64.b64decode(entry.get("value", "")).decode() for key, entry in value["map"].items()}
        return {key: _plain_opaques(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_opaques(item) for item in value]
    return value


def ways_fact(ways: list[Endpoint]) -> list[list[Any]]:
    """The ways of an initiation as they were noted."""
    return [[way.protocol, way.url, bool(way.token)] for way in ways]


def headers_fact(answer: HttpAnswer) -> Fact:
    """The noted headers of an answer."""
    return {name: value for name, value in answer.headers.items() if name.lower() in HEADERS}


def head(answer: HttpAnswer) -> str:
    """The first 60 characters of a body."""
    return answer.body[:60].decode("utf-8", "replace")


# -- a few calls that belong together


def initiate(
    caller: Caller, path: str, size: int, opaque: dict[str, str] | None = None, **conditions: Any
) -> tuple[Answer, Endpoint]:
    """Initiate an upload of `size` bytes. Raises: LookupError if that is refused."""
    answer = caller.initiate_upload(caller.reference(path), {"Upload-Length": str(size), **(opaque or {})}, **conditions)
    ways = endpoints(answer)
    if not ways:
        raise LookupError(f"The upload of {path} was refused: {answer.status}.")
    return answer, simple(ways)


def get(caller: Caller, reference: Any) -> Transfer:
    """Download what a reference is about."""
    answer = caller.initiate_download(reference)
    ways = endpoints(answer)
    return Transfer(answer, ways, caller.http("GET", simple(ways)) if ways else None)


def download_fact(transfer: Transfer) -> Fact:
    """A whole download as it was noted."""
    fact: Fact = {"init": transfer.init.status}
    if transfer.http is None:
        return fact
    answer = transfer.http
    shape = {"status": answer.status, "hdr": headers_fact(answer), "len": len(answer.body), "head": head(answer)}
    return fact | {"protocols": ways_fact(transfer.endpoints)} | shape


def content(caller: Caller, path: str) -> list[Any]:
    """Status, length and beginning of a file's content."""
    answer = get(caller, caller.reference(path)).http
    assert answer is not None
    return [answer.status, len(answer.body), head(answer)]


def names(caller: Caller, path: str) -> list[str]:
    """The names in a folder."""
    return sorted(info.name for info in caller.on("ListContainer", path).get("infos") or [])


def version_sizes(caller: Caller, path: str) -> list[int]:
    """The sizes of the versions of a file [bytes], newest first."""
    return [version.size for version in caller.on("ListFileVersions", path).get("versions") or []]


def trash_paths(caller: Caller) -> list[str]:
    """Where the things in a user's trash lay."""
    return [item.ref.path for item in caller.on("ListRecycle", "").get("recycle_items") or []]


def token_claims(token: str) -> Fact:
    """The claims of a token, whoever signed it."""
    middle = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4))))
