"""The desk of the mesh: two sites, three users, what is shared, and the shapes in which answers were recorded.

Called by the modules beside it, one per topic of `reva-ocm.jsonl`. One desk, one thread.
"""

from collections.abc import Callable, Iterable
from typing import Any

from cs3.gateway.v1beta1 import gateway_api_pb2 as gateway_pb
from cs3.identity.user.v1beta1 import resources_pb2 as user_pb
from cs3.ocm.provider.v1beta1 import provider_api_pb2 as site_api_pb
from cs3.sharing.ocm.v1beta1 import ocm_api_pb2 as ocm_api_pb
from cs3.sharing.ocm.v1beta1 import resources_pb2 as ocm_pb
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict

from cs3fuse.emulator.server import EmulatorThread
from tests.emulator.caller import Answer, Caller, HttpAnswer, endpoints, simple
from tests.emulator.notebook import Notebook
from tests.emulator.recorded import Fact

SITE_A, SITE_B = "127.0.0.1:21001", "127.0.0.1:22001"
"""The sites' names in the records, which are also the domains of their users."""
MOUNT, MOUNT_A = "/ocm", "/ocm-received"
"""Where B and A mount what they receive."""
HOME, HOME_B = "/local/einstein", "/local/marie"
BASE = f"{HOME}/mesh-1"

VIEW = ("stat", "get_path", "list_container", "initiate_file_download")
EDIT = (*VIEW, "initiate_file_upload", "create_container", "delete", "move")
DATA = bytes(range(256)) * 4096
_UNNOTED_HEADERS = frozenset({"date", "x-request-id", "vary"})


class MeshDesk(Notebook):
    """Two sites and three users.

    Args:
        a: the site that shares.
        b: the site that receives.
        start_a: starts the first site again, after it was stopped.
        einstein: at A, shares.
        richard: at A.
        marie: at B, receives.

    """

    def __init__(self, a: EmulatorThread, b: EmulatorThread, start_a: Callable[[], EmulatorThread]) -> None:
        super().__init__()
        self.a = a
        self.b = b
        self.start_a = start_a
        self.einstein = Caller(f"127.0.0.1:{a.grpc_port}")
        self.richard = Caller(f"127.0.0.1:{a.grpc_port}")
        self.marie = Caller(f"127.0.0.1:{b.grpc_port}")
        self.ids: dict[str, Any] = {}
        self.received: dict[str, str] = {}

    def sign_in(self, caller: Caller, user: str, secret: str) -> None:
        """Sign in and note what the site says about the user."""
        answer = caller.sign_in(user, secret)
        self.ids[user] = answer.message.user.id
        self.note(f"authenticate:{user}", answer.status, user=MessageToDict(answer.message.user))

    def at(self, name: str, relative: str = "") -> str:
        """The path of a received share, or of something in it."""
        return f"{MOUNT}/{self.received[name]}{relative}"

    def site_info(self, caller: Caller, site: str) -> Any:
        """What a site knows of another one."""
        return caller.call("GetInfoByDomain", site_api_pb.GetInfoByDomainRequest(domain=site)).message.provider_info

    # -- shares

    def offer(
        self,
        path: str,
        permissions: Iterable[str],
        *,
        grantee: Any = None,
        site: Any = None,
        expires_s: float = 0.0,
        requirements: Iterable[str] = (),
        rid: Any = None,
    ) -> Answer:
        """CreateOCMShare by einstein."""
        way = ocm_pb.WebDAVAccessMethod(
            permissions=storage_pb.ResourcePermissions(**dict.fromkeys(permissions, True)), requirements=requirements
        )
        request = ocm_api_pb.CreateOCMShareRequest(
            resource_id=rid or self.einstein.stat(path).message.info.id,
            grantee=storage_pb.Grantee(type=storage_pb.GRANTEE_TYPE_USER, user_id=grantee or self.ids["marie"]),
            recipient_mesh_provider=site or self.site_info(self.einstein, SITE_B),
            access_methods=[ocm_pb.AccessMethod(webdav_options=way)],
        )
        if expires_s:
            request.expiration.seconds = int(expires_s)
        return self.einstein.call("CreateOCMShare", request)

    def all_received(self) -> Answer:
        """ListReceivedOCMShares by marie."""
        return self.marie.call("ListReceivedOCMShares", ocm_api_pb.ListReceivedOCMSharesRequest())

    def find(self, remote_id: str) -> Any:
        """The received share that belongs to a sent one; None if there is none."""
        return next((share for share in self.all_received().get("shares") if share.remote_share_id == remote_id), None)

    def is_listed(self, share_id: str) -> bool:
        """Whether marie's list still has a share."""
        return any(share.id.opaque_id == share_id for share in self.all_received().get("shares"))

    def share(self, path: str, permissions: Iterable[str], **details: Any) -> tuple[Answer, Any]:
        """Share by OCM; CreateOCMShare's answer and what marie got."""
        answer = self.offer(path, permissions, **details)
        got = self.find(answer.message.share.id.opaque_id) if answer.code == "OK" else None
        if got is not None:
            self.received[path.rpartition("/")[2]] = got.id.opaque_id
        return answer, got

    def set_state(self, share_id: str, state: int, mask: Iterable[str] = ("state",), **fields: Any) -> Answer:
        """UpdateReceivedOCMShare by marie."""
        share = ocm_pb.ReceivedShare(id=ocm_pb.ShareId(opaque_id=share_id), state=state, **fields)
        request = ocm_api_pb.UpdateReceivedOCMShareRequest(share=share, update_mask=FieldMask(paths=mask))
        return self.marie.call("UpdateReceivedOCMShare", request)

    def get_received(self, share_id: str) -> Answer:
        """GetReceivedOCMShare by marie."""
        reference = ocm_pb.ShareReference(id=ocm_pb.ShareId(opaque_id=share_id))
        return self.marie.call("GetReceivedOCMShare", ocm_api_pb.GetReceivedOCMShareRequest(ref=reference))

    def revoke(self, share_id: str) -> Answer:
        """RemoveOCMShare by einstein."""
        reference = ocm_pb.ShareReference(id=ocm_pb.ShareId(opaque_id=share_id))
        return self.einstein.call("RemoveOCMShare", ocm_api_pb.RemoveOCMShareRequest(ref=reference))

    # -- what einstein sees

    def cat(self, path: str, caller: Caller | None = None) -> Any:
        """The content of a file as text, or what kept its reader (einstein, if nobody is named) from it."""
        reader = caller or self.einstein
        fact = get(reader, reader.reference(path), data=True)
        return fact["data"] if fact.get("status") == 200 else fact.get("status", fact)

    def seen(self, relative: str) -> Fact:
        """What einstein sees of something in the folder `ed`."""
        info = self.einstein.info(f"{BASE}/ed{relative}")
        return {"owner_size": info.get("size"), "owner_code": info.get("code"), "owner_type": info.get("type")}


# -- shapes


def by_id(rid: Any, path: str = "") -> Any:
    """A reference by id."""
    return storage_pb.Reference(resource_id=rid, path=path)


def names(answer: Answer) -> Fact:
    """A listing as it was noted."""
    infos = answer.get("infos") or []
    return {**answer.status, "n": len(infos), "entries": [[info.path, info.name, info.size] for info in infos]}


def messages(answer: Answer, field: str) -> list[Fact]:
    """The messages of a repeated field as JSON."""
    return [clean(MessageToDict(item)) for item in answer.get(field) or []]


def clean(value: Any) -> Any:
    """JSON without secrets, as it was recorded."""
    if isinstance(value, dict):
        secret = {"sharedSecret", "token"}
        return {key: "<secret>" if key in secret and isinstance(item, str) and item else clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list) else value


def plain(message: Any) -> Fact:
    """A message as JSON without secrets."""
    return dict(clean(MessageToDict(message)))


def http_shape(answer: HttpAnswer) -> Fact:
    """An HTTP answer as it was noted."""
    if answer.status == "broken":
        return {"status": "broken", "error": answer.error}
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _UNNOTED_HEADERS}
    return {"status": answer.status, "headers": headers, "len": len(answer.body), "sha": answer.sha}


def get(
    caller: Caller,
    reference: Any,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    *,
    data: bool = False,
    timeout_s: float = 20.0,
) -> Fact:
    """A download as it was noted; `data` with the beginning of the content."""
    answer = caller.initiate_download(reference)
    ways = endpoints(answer)
    if not ways:
        return {"init": answer.status}
    http = caller.http(method, simple(ways), headers=headers, timeout_s=timeout_s)
    fact = {"init": answer.status, "protocols": [way.protocol for way in ways], **http_shape(http)}
    return fact | {"data": http.body[:60].decode("utf-8", "replace")} if data and http.status != "broken" else fact


def put(
    caller: Caller,
    reference: Any,
    data: bytes,
    headers: dict[str, str] | None = None,
    *,
    length: bool = True,
    timeout_s: float = 20.0,
    **conditions: Any,
) -> Fact:
    """An upload as it was noted."""
    opaque = {"Upload-Length": str(len(data))} if length else {}
    answer = caller.initiate_upload(reference, opaque, **conditions)
    ways = endpoints(answer)
    if not ways:
        return {"init": answer.status}
    http = caller.http("PUT", simple(ways), body=data, headers={**opaque, **(headers or {})}, timeout_s=timeout_s)
    fact = {"init": answer.status, "protocols": [way.protocol for way in ways], **http_shape(http)}
    return fact if http.status == 200 else fact | {"body": "" if http.status == "broken" else http.body[:160].decode()}


def home_of(caller: Caller) -> str:
    """GetHome."""
    return str(caller.call("GetHome", provider_pb.GetHomeRequest()).get("path"))


def quota(caller: Caller, path: str) -> Answer:
    """GetQuota."""
    return caller.call("GetQuota", gateway_pb.GetQuotaRequest(ref=caller.reference(path)))


def federated(opaque_id: str, site: str) -> Any:
    """The id of a user of another site."""
    return user_pb.UserId(opaque_id=opaque_id, idp=site, type=user_pb.USER_TYPE_FEDERATED)
