"""Topic 1: a user from the first sign-in to a home, and the filters of ListStorageSpaces.

`first_sign_in` must be asked before alan and marie have homes, `filters` after everything else.
"""

from typing import Any

from cs3.gateway.v1beta1 import gateway_api_pb2 as gateway_pb
from cs3.identity.user.v1beta1 import user_api_pb2 as user_api_pb
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from cs3.storage.provider.v1beta1 import spaces_api_pb2 as spaces_pb

from tests.emulator.caller import Answer, Caller
from tests.emulator.closer.desk import Desk, absolute, home_path, id_text, on, permission_names, plain, token_claims
from tests.emulator.gateways import OPENCLOUD_USERS, enter_home

Filter = spaces_pb.ListStorageSpacesRequest.Filter


def spaces(caller: Caller, *filters: Any) -> Answer:
    """ListStorageSpaces."""
    return caller.call("ListStorageSpaces", spaces_pb.ListStorageSpacesRequest(filters=filters))


def of_type(kind: str) -> Any:
    """A filter for one type of spaces."""
    return Filter(type=Filter.TYPE_SPACE_TYPE, space_type=kind)


def first_sign_in(desk: Desk) -> None:
    """Nothing is there before CreateHome, not even the home that GetHome speaks of."""
    alan, marie = desk.alan, desk.marie
    answer = alan.sign_in("alan", OPENCLOUD_USERS["alan"])
    desk.note("first_authenticate_alan", answer.status, user=plain(answer.message.user))
    claims = token_claims(alan.token)
    life = claims["exp"] - claims["iat"]
    desk.note("token_claims", claims=claims | {"user": "User json"}, life=life)
    home = absolute(f"/users/{answer.message.user.id.opaque_id}")
    _note_spaces(desk, "spaces_before_createhome")
    got = alan.call("GetHome", provider_pb.GetHomeRequest())
    desk.note("gethome_before", got.status, path=got.get("path"))
    desk.note("stat_home_before_createhome", on(alan, "Stat", home).status)
    desk.note("createhome", alan.call("CreateHome", provider_pb.CreateHomeRequest()).status)
    desk.note("createhome_again", alan.call("CreateHome", provider_pb.CreateHomeRequest()).status)
    got = alan.call("GetHome", provider_pb.GetHomeRequest())
    desk.note("gethome_after", got.status, path=got.get("path"))
    _note_spaces(desk, "spaces_after_createhome")
    stat = on(alan, "Stat", home)
    info = stat.message.info
    fields = {"name": info.name, "path": info.path, "id": id_text(info.id), "perms": permission_names(info.permission_set)}
    desk.note("stat_home_after", stat.status, fields)
    enter_home(alan)
    answer = marie.sign_in("marie", OPENCLOUD_USERS["marie"])
    desk.note("first_authenticate_marie", answer.status, user=plain(answer.message.user))
    enter_home(marie)
    who = marie.call("WhoAmI", gateway_pb.WhoAmIRequest(token=marie.token))
    desk.note("whoami", who.status, user=plain(who.message.user))
    found = marie.call("GetUserByClaim", user_api_pb.GetUserByClaimRequest(claim="username", value="alan"))
    desk.note("getuserbyclaim_alan_as_marie", found.status, user=plain(found.message.user))


def _note_spaces(desk: Desk, fact: str) -> None:
    answer = spaces(desk.alan)
    desk.note(fact, answer.status, spaces=[plain(space) for space in answer.message.storage_spaces])


def filters(desk: Desk) -> None:
    """By id, by type, by owner, by path; of two types the last counts."""
    alan = desk.alan
    space_id, opaque_id = str(alan.root).split("!")
    by_id = [Filter(type=Filter.TYPE_ID, id=storage_pb.StorageSpaceId(opaque_id=text)) for text in (str(alan.root), space_id)]
    owner = storage_pb.ResourceInfo().owner
    owner.opaque_id = opaque_id
    for name, wanted in {
        "id_space": [by_id[0]],
        "id_short": [by_id[1]],
        "personal": [of_type("personal")],
        "project": [of_type("project")],
        "owner_alan": [Filter(type=Filter.TYPE_OWNER, owner=owner)],
        "path_home": [Filter(type=Filter.TYPE_PATH, path=home_path(alan))],
        "personal+mountpoint": [of_type("personal"), of_type("mountpoint")],
    }.items():
        answer = spaces(alan, *wanted)
        found = sorted(f"{space.space_type}:{space.name}" for space in answer.get("storage_spaces") or [])
        desk.note(f"spaces_filter:{name}", answer.status, n=len(found), types=found)
