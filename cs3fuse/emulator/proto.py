"""The CS3 messages the emulator speaks, and small conversions that every profile needs.

Owns the imports of the generated bindings (they carry no types) and nothing else. Pure functions, safe everywhere.
"""

import binascii
from typing import Any

from cs3.gateway.v1beta1 import gateway_api_pb2 as gateway_pb
from cs3.gateway.v1beta1 import gateway_api_pb2_grpc as gateway_grpc
from cs3.identity.user.v1beta1 import resources_pb2 as user_pb
from cs3.identity.user.v1beta1 import user_api_pb2 as user_api_pb
from cs3.rpc.v1beta1 import code_pb2
from cs3.storage.provider.v1beta1 import provider_api_pb2 as provider_pb
from cs3.storage.provider.v1beta1 import resources_pb2 as storage_pb
from cs3.storage.provider.v1beta1 import spaces_api_pb2 as spaces_pb
from cs3.types.v1beta1 import types_pb2
from google.protobuf import message_factory

__all__ = [
    "code_pb2",
    "gateway_grpc",
    "gateway_pb",
    "provider_pb",
    "spaces_pb",
    "storage_pb",
    "types_pb2",
    "user_api_pb",
    "user_pb",
]

OK = 1
INVALID_ARGUMENT = 4
NOT_FOUND = 6
ALREADY_EXISTS = 7
PERMISSION_DENIED = 8
UNAUTHENTICATED = 9
FAILED_PRECONDITION = 11
ABORTED = 12
UNIMPLEMENTED = 14
INTERNAL = 15
INSUFFICIENT_STORAGE = 19
LOCKED = 20
TOO_EARLY = 21

FILE = 1
CONTAINER = 2

READING = ("get_path", "get_quota", "initiate_file_download", "list_container", "list_recycle", "stat")
WRITING = (
    "create_container",
    "delete",
    "initiate_file_upload",
    "list_file_versions",
    "move",
    "restore_file_version",
    "restore_recycle_item",
)
GRANTING = ("add_grant", "remove_grant", "update_grant")


def permissions(*names: str) -> Any:
    """A ResourcePermissions message with the named fields true."""
    return storage_pb.ResourcePermissions(**dict.fromkeys(names, True))


def gateway_methods() -> list[tuple[str, Any, Any, bool]]:
    """Every RPC of GatewayAPI as (name, request class, response class, answers a stream)."""
    service = gateway_pb.DESCRIPTOR.services_by_name["GatewayAPI"]
    return [
        (
            method.name,
            message_factory.GetMessageClass(method.input_type),
            message_factory.GetMessageClass(method.output_type),
            bool(method.server_streaming),
        )
        for method in service.methods
    ]


def service_behind(rpc: str) -> str:
    """The full name of the service that a gateway passes an RPC on to, as in `cs3.sharing.ocm.v1beta1.OcmAPI`."""
    request = gateway_pb.DESCRIPTOR.services_by_name["GatewayAPI"].methods_by_name[rpc].input_type
    for service in request.file.services_by_name.values():
        if rpc in service.methods_by_name:
            return str(service.full_name)
    return str(request.file.package)


def has_reference(request: Any, name: str) -> bool:
    """Whether a request has a field of this name for a resource (the requests about shares have a `ref` of another kind)."""
    field = request.DESCRIPTOR.fields_by_name.get(name)
    return field is not None and field.message_type is storage_pb.Reference.DESCRIPTOR


def code_number(name: str) -> int:
    """The number of a CS3 code named like "NOT_FOUND" or "CODE_NOT_FOUND". Raises: ValueError for another name."""
    return int(code_pb2.Code.Value(name if name.startswith("CODE_") else f"CODE_{name}"))


def opaque_value(opaque: Any, key: str) -> str | None:
    """The text of one entry of an Opaque, None when it is absent (reading a missing key would create it)."""
    if key not in opaque.map:
        return None
    return str(opaque.map[key].value.decode("utf-8", "replace"))


def set_opaque(opaque: Any, key: str, value: str, decoder: str = "plain") -> None:
    """Set one entry of an Opaque."""
    opaque.map[key].decoder = decoder
    opaque.map[key].value = value.encode()


def set_timestamp(stamp: Any, nanoseconds: int, *, whole_seconds: bool = False) -> None:
    """Fill a Timestamp from nanoseconds since the epoch."""
    stamp.seconds = max(0, nanoseconds // 1_000_000_000)
    if not whole_seconds:
        stamp.nanos = nanoseconds % 1_000_000_000


def timestamp_s(stamp: Any) -> float:
    """A Timestamp as seconds since the epoch."""
    return float(stamp.seconds) + float(stamp.nanos) / 1e9


def go_quote(text: str) -> str:
    r"""A string the way Go's prototext prints it: quotes, backslashes and control characters escaped, the rest kept."""
    parts = ['"']
    for character in text:
        match character:
            case '"':
                parts.append('\\"')
            case "\\":
                parts.append("\\\\")
            case "\n":
                parts.append("\\n")
            case "\r":
                parts.append("\\r")
            case "\t":
                parts.append("\\t")
            case _ if ord(character) < 0x20 or ord(character) == 0x7F:
                parts.append(f"\\x{ord(character):02x}")
            case _:
                parts.append(character)
    return "".join([*parts, '"'])


def go_text(reference: Any) -> str:
    """A Reference the way the servers print it into their messages."""
    parts = []
    if reference.HasField("resource_id"):
        rid = reference.resource_id
        inner = [f"{name}:{go_quote(value)}" for name, value in _id_fields(rid) if value]
        parts.append("resource_id:{" + "  ".join(inner) + "}")
    if reference.path:
        parts.append(f"path:{go_quote(reference.path)}")
    return "  ".join(parts)


def _id_fields(rid: Any) -> list[tuple[str, str]]:
    return [("storage_id", rid.storage_id), ("opaque_id", rid.opaque_id), ("space_id", rid.space_id)]


def adler32_hex(value: int) -> str:
    """An adler32 sum as eight lower-case hexadecimal digits."""
    return binascii.hexlify((value & 0xFFFFFFFF).to_bytes(4, "big")).decode()
