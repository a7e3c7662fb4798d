"""Topic 5: access tokens that are expired, spoiled or absent, and the ways to get one.

Asked in a folder of admin's. An expired token is made by signing another end into a good one.
"""

import time
from collections.abc import Iterable
from typing import Any

import jwt
from cs3.auth.applications.v1beta1 import applications_api_pb2 as applications_pb
from cs3.auth.provider.v1beta1 import resources_pb2 as auth_pb
from cs3.gateway.v1beta1 import gateway_api_pb2 as gateway_pb
from cs3.sharing.collaboration.v1beta1 import collaboration_api_pb2 as collaboration_pb
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from cs3.storage.provider.v1beta1 import spaces_api_pb2 as spaces_pb

from tests.emulator.caller import Answer, Caller, lock
from tests.emulator.closer.desk import Desk, absolute, bare, headers_fact, home_path, initiate, token_claims
from tests.emulator.closer.ranges import read_while, way_to
from tests.emulator.gateways import OPENCLOUD_USERS

_FOLDER = "/tok"
_FILE = f"{_FOLDER}/f.txt"
_NEW = f"{_FOLDER}/n.txt"
_RUNNING = 40_000_000


def aged(desk: Desk, token: str, seconds_ago: float) -> str:
    """The same token, but expired so many seconds ago [s]."""
    secret = desk.gateway.emulator.tokens._secret
    claims = jwt.decode(token, secret, algorithms=["HS256"], audience="reva", options={"verify_exp": False})
    return jwt.encode(claims | {"exp": int(time.time() - seconds_ago)}, secret, algorithm="HS256")


def spoiled(token: str) -> str:
    """The same token with a wrong signature."""
    return f"{token[:-8]}AAAAAAAA"


def prepare(desk: Desk) -> None:
    """A file to ask about."""
    desk.admin.on("CreateContainer", _FOLDER)
    desk.admin.upload(_FILE, b"content")


def kinds_of_bad_tokens(desk: Desk) -> None:
    """Every call, with a token that is expired, spoiled, absent."""
    for kind, token in (("expired", aged(desk, desk.admin.token, 3600)), ("badsig", spoiled(desk.admin.token)), ("none", "")):
        for name, answer in _grpc_calls(desk, token):
            extra: dict[str, Any] = {"n": len(answer.get("storage_spaces") or [])} if name == "spaces" else {}
            desk.note(f"{kind}_{name}", answer.status, **extra)
        _http_calls(desk, kind, token)


def _grpc_calls(desk: Desk, token: str) -> Iterable[tuple[str, Answer]]:
    admin = desk.admin
    file, folder, home = admin.reference(_FILE), admin.reference(_FOLDER), admin.reference("")
    length = provider_pb.InitiateFileUploadRequest(ref=admin.reference(_NEW))
    length.opaque.map["Upload-Length"].decoder, length.opaque.map["Upload-Length"].value = "plain", b"5"
    metadata = storage_pb.ArbitraryMetadata(metadata={"a": "b"})
    requests: dict[str, tuple[str, Any]] = {
        "stat": ("Stat", provider_pb.StatRequest(ref=file)),
        "stat_path": ("Stat", provider_pb.StatRequest(ref=absolute(f"{home_path(admin)}{_FILE}"))),
        "list": ("ListContainer", provider_pb.ListContainerRequest(ref=folder)),
        "init_upload": ("InitiateFileUpload", length),
        "init_download": ("InitiateFileDownload", provider_pb.InitiateFileDownloadRequest(ref=file)),
        "mkdir": ("CreateContainer", provider_pb.CreateContainerRequest(ref=admin.reference(f"{_FOLDER}/d"))),
        "touch": ("TouchFile", provider_pb.TouchFileRequest(ref=admin.reference(f"{_FOLDER}/t"))),
        "delete": ("Delete", provider_pb.DeleteRequest(ref=file)),
        "move": ("Move", provider_pb.MoveRequest(source=file, destination=admin.reference(f"{_FOLDER}/m"))),
        "setlock": ("SetLock", provider_pb.SetLockRequest(ref=file, lock=lock("T"))),
        "getlock": ("GetLock", provider_pb.GetLockRequest(ref=file)),
        "refreshlock": ("RefreshLock", provider_pb.RefreshLockRequest(ref=file, lock=lock("T"))),
        "unlock": ("Unlock", provider_pb.UnlockRequest(ref=file, lock=lock("T"))),
        "setmd": ("SetArbitraryMetadata", provider_pb.SetArbitraryMetadataRequest(ref=file, arbitrary_metadata=metadata)),
        "spaces": ("ListStorageSpaces", spaces_pb.ListStorageSpacesRequest()),
        "gethome": ("GetHome", provider_pb.GetHomeRequest()),
        "createhome": ("CreateHome", provider_pb.CreateHomeRequest()),
        "quota": ("GetQuota", gateway_pb.GetQuotaRequest(ref=home)),
        "received": ("ListReceivedShares", collaboration_pb.ListReceivedSharesRequest()),
        "versions": ("ListFileVersions", provider_pb.ListFileVersionsRequest(ref=file)),
        "recycle": ("ListRecycle", provider_pb.ListRecycleRequest(ref=home)),
    }
    for name, (rpc, request) in requests.items():
        yield name, admin.call(rpc, request, token=token)
    body = gateway_pb.WhoAmIRequest(token=token)
    yield "whoami_md_and_body", admin.call("WhoAmI", body, token=token)
    yield "whoami_body_only", admin.call("WhoAmI", body, token="")
    yield "whoami_md_only", admin.call("WhoAmI", gateway_pb.WhoAmIRequest(), token=token)
    yield "authenticate_with_bad_md", admin.authenticate("admin", OPENCLOUD_USERS["admin"], token=token)


def _http_calls(desk: Desk, kind: str, token: str) -> None:
    admin = desk.admin
    answer = admin.http("GET", way_to(admin, _FILE), token=token)
    hdr = {"Content-Length": answer.headers.get("Content-Length")}
    desk.note(f"{kind}_http_get", status=answer.status, hdr=hdr, body=answer.body.decode())
    _, way = initiate(admin, _NEW, 5)
    answer = admin.http("PUT", way, body=b"12345", token=token)
    hdr = {"Content-Length": answer.headers.get("Content-Length")}
    exists = admin.stat(_NEW).code
    desk.note(f"{kind}_http_put", status=answer.status, hdr=hdr, body=answer.body.decode(), exists=exists)
    desk.note(f"{kind}_http_put_same_transfer_with_good_token_after", status=admin.http("PUT", way, body=b"12345").status)


def leeway(desk: Desk) -> None:
    """How long after its end a token is still taken."""
    admin = desk.admin
    request = provider_pb.StatRequest(ref=admin.reference(_FILE))
    desk.note("selfsigned_valid", admin.call("Stat", request, token=aged(desk, admin.token, -3600)).status)
    just_over = aged(desk, admin.token, 2)
    answer, way = initiate(admin, f"{_FOLDER}/lee", 5)
    put = admin.http("PUT", way, body=b"12345", token=just_over)
    exists = admin.stat(f"{_FOLDER}/lee").code
    desk.note("token_past_exp_within_5s_leeway_put", init=answer.status, status=put.status, exists=exists)
    put = admin.http("PUT", way, body=b"12345")
    desk.note("put_repeated_with_good_token_after_success", status=put.status, exists=admin.stat(f"{_FOLDER}/lee").code)
    way = way_to(admin, _FILE)
    desk.note("token_past_exp_within_5s_leeway_get", status=admin.http("GET", way, token=just_over).status)
    with Caller(admin.target) as renewed:
        renewed.sign_in("admin", OPENCLOUD_USERS["admin"])
        desk.note("get_with_renewed_access_token_same_transfer_token", status=renewed.http("GET", way).status)
    for seconds in (0, 2, 5, 8, 9, 10, 11, 15, 30, 60, 120):
        token = aged(desk, admin.token, seconds)
        stat = admin.call("Stat", request, token=token).code
        desk.note(f"token_expired_{seconds}s_ago", stat=stat, http_get=admin.http("GET", way, token=token).status)


def other_headers(desk: Desk) -> None:
    """Other ways to bring an access token to the data server."""
    admin = desk.admin
    way = way_to(admin, _FILE)
    for name, headers in (
        ("bearer_reva_token", {"Authorization": f"Bearer {admin.token}"}),
        ("basic", {"Authorization": "Basic YWRtaW46YWRtaW4="}),
        ("x-access-token", {"x-access-token": admin.token}),
    ):
        answer = admin.http("GET", way, headers=headers, token="")
        desk.note(f"data_get_auth:{name}", status=answer.status, hdr=headers_fact(answer))


def kinds_of_sign_in(desk: Desk) -> None:
    """Types of Authenticate that are not served, and secrets that are wrong."""
    admin = desk.admin
    for name, user, secret, kind in (
        ("machine:admin", "admin", "wrong", "machine"),
        ("serviceaccounts:x", "x", "x", "serviceaccounts"),
        ("publicshares:x", "x", "x", "publicshares"),
        ("ocmshares:x", "x", "x", "ocmshares"),
        ("basic:nobody", "nobody", "x", "basic"),
        ("basic:admin:empty", "admin", "", "basic"),
        ("basic:-:empty", "", "", "basic"),
    ):
        desk.note(f"auth_type:{name}", admin.authenticate(user, secret, kind=kind).status)


def between_initiation_and_transfer(desk: Desk) -> None:
    """A token that ends, or is another user's, between the initiation and the transfer."""
    admin, path = desk.admin, f"{_FOLDER}/between"
    expired = aged(desk, admin.token, 8)
    none = provider_pb.InitiateFileUploadRequest
    desk.note(
        "none_init_upload_path", admin.call("InitiateFileUpload", none(ref=absolute(f"{home_path(admin)}{path}")), token="").status
    )
    desk.note("none_init_upload_id", admin.call("InitiateFileUpload", none(ref=bare(str(admin.root))), token="").status)
    answer, way = initiate(admin, path, 5)
    put = admin.http("PUT", way, body=b"12345", token=expired)
    desk.note("expired_8s_between_init_and_put", init=answer.code, put=put.status, exists=admin.stat(path).code)
    put = admin.http("PUT", way, body=b"12345")
    desk.note("then_put_with_renewed_access_token_same_transfer", put=put.status, exists=admin.stat(path).code)
    way = way_to(admin, _FILE)
    refused, good = admin.http("GET", way, token=expired), admin.http("GET", way)
    desk.note("expired_8s_between_init_and_get", get=refused.status, with_renewed=good.status)
    desk.note("get_with_other_users_access_token", status=admin.http("GET", way, token=desk.marie.token).status)
    _, way = initiate(admin, f"{_FOLDER}/others", 5)
    put = admin.http("PUT", way, body=b"12345", token=desk.marie.token)
    desk.note("put_with_other_users_access_token", status=put.status, exists=admin.stat(f"{_FOLDER}/others").code)


def running_download(desk: Desk) -> None:
    """A GET that has begun outlives the token."""
    admin, path = desk.admin, f"{_FOLDER}/run"
    admin.upload(path, b"r" * _RUNNING)
    clock = desk.gateway.clock

    def let_it_expire() -> None:
        clock.skew_s += 1_000_000

    way = way_to(admin, path)
    try:
        _, received, _ = read_while(admin, way, let_it_expire)
    finally:
        clock.skew_s = 0.0
    desk.note("running_get_past_token_expiry", received=len(received), complete=len(received) == _RUNNING)


def application_passwords(desk: Desk) -> None:
    """Passwords for programs, made over CS3."""
    alan = desk.alan
    scope = auth_pb.Scope(role=auth_pb.ROLE_OWNER)
    scope.resource.decoder, scope.resource.value = "json", b'{"path":"/"}'
    made: dict[str, str] = {}
    for name, scopes in (("cs3_empty_scope", {}), ("cs3_user_scope", {"user": scope})):
        request = applications_pb.GenerateAppPasswordRequest(label="cs3", token_scope=scopes)
        answer = alan.call("GenerateAppPassword", request)
        made[name] = answer.message.app_password.password if answer.message else ""
        fact = {"cs3_empty_scope": "appauth_generate_cs3_empty_scope", "cs3_user_scope": "appauth_generate_cs3_user_scope"}[name]
        desk.note(fact, answer.status, len=len(made[name]))
    alans_id = str(alan.root).partition("!")[2]
    for name, secret in made.items():
        for way, user, kind in (
            ("appauth:name", "alan", "appauth"),
            ("appauth:id", alans_id, "appauth"),
            ("basic:name", "alan", "basic"),
            ("bearer:none", "", "bearer"),
        ):
            desk.note(f"appauth_authenticate:{name}:{way}", _use(desk, user, secret, kind))
    desk.note("appauth_wrong", alan.authenticate("alan", "wrong", kind="appauth").status)


def _use(desk: Desk, user: str, secret: str, kind: str) -> dict[str, Any]:
    """Sign in with an application password and try what can be done with the token."""
    with Caller(desk.alan.target, desk.alan.root) as caller:
        answer = caller.sign_in(user, secret, kind)
        if not caller.token:
            return answer.status
        claims = token_claims(caller.token)
        spaces = caller.call("ListStorageSpaces", spaces_pb.ListStorageSpacesRequest()).code
        upload = caller.upload("/by-app", b"12345")
        return answer.status | {
            "life": claims["exp"] - claims["iat"],
            "scope": list(claims["scope"]),
            "stat": caller.stat("").code,
            "spaces": spaces,
            "upload": upload.http.status if upload.http else None,
        }


STEPS = (
    prepare,
    kinds_of_bad_tokens,
    leeway,
    other_headers,
    kinds_of_sign_in,
    between_initiation_and_transfer,
    running_download,
    application_passwords,
)
