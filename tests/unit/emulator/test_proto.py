"""Tests of the conversions every profile needs."""

from cs3fuse.emulator import proto
from cs3fuse.emulator.profiles import snake_case
from cs3fuse.emulator.proto import storage_pb, types_pb2


def test_references_are_printed_as_go_prints_them() -> None:
    """Messages of the servers contain references; clients show them to people."""
    rid = storage_pb.ResourceId(storage_id="s", opaque_id="o", space_id="p")
    reference = storage_pb.Reference(resource_id=rid, path='./a "b"\n\x00ü')
    assert proto.go_text(reference) == 'resource_id:{storage_id:"s"  opaque_id:"o"  space_id:"p"}  path:"./a \\"b\\"\\n\\x00ü"'


def test_reading_an_absent_opaque_entry_does_not_create_it() -> None:
    """Indexing a protobuf map would."""
    opaque = types_pb2.Opaque()
    assert proto.opaque_value(opaque, "Upload-Length") is None
    assert not opaque.map


def test_rpc_names_lead_to_handlers() -> None:
    """Runs of capitals are one word."""
    assert [snake_case(name) for name in ("Stat", "ListOCMShares", "WhoAmI")] == ["stat", "list_ocm_shares", "who_am_i"]


def test_every_rpc_of_the_gateway_is_known() -> None:
    """The servicer is built from this list; a missing one would be answered by the library instead of us."""
    names = [name for name, *_ in proto.gateway_methods()]
    assert len(names) == len(set(names)) > 100
    assert {"Stat", "InitiateFileUpload", "ListContainerStream"} <= set(names)
