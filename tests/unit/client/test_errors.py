"""The table from answers to failures: what was measured on real servers, and that no row or text can break it."""

from __future__ import annotations

import grpc
import pytest
from cs3.rpc.v1beta1 import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from cs3fuse import errors
from cs3fuse.client.errors import RULES, error_for, printable, rule_for

MEASURED = [
    ("Stat", "NOT_FOUND", "path not found when statting", errors.NotFoundError),
    ("CreateContainer", "ALREADY_EXISTS", "container already exists", errors.ExistsError),
    ("CreateContainer", "NOT_FOUND", "path not found when creating container", errors.NotFoundError),
    ("CreateContainer", "FAILED_PRECONDITION", "create container: error: precondition failed", errors.NotFoundError),
    ("TouchFile", "ALREADY_EXISTS", "file already exists", errors.ExistsError),
    ("Move", "INTERNAL", 'error moving: path:"/zzz"', errors.ServerError),
    ("Move", "UNIMPLEMENTED", "gateway: cross storage copy not yet implemented", errors.CrossStorageError),
    ("Move", "ALREADY_EXISTS", "move: error: already exists", errors.ExistsError),
    ("Move", "LOCKED", "move: error: locked by L1", errors.LockedError),
    ("Delete", "TOO_EARLY", "file is processing", errors.BusyError),
    ("Delete", "INTERNAL", "can't delete mount path", errors.NotPermittedError),
    ("Stat", "INTERNAL", "error: path not found: x", errors.NotFoundError),
    ("InitiateFileUpload", "FAILED_PRECONDITION", "etag mismatch", errors.ConflictError),
    ("InitiateFileUpload", "ALREADY_EXISTS", "already exists", errors.ConflictError),
    ("InitiateFileUpload", "LOCKED", "locked", errors.LockedError),
    ("InitiateFileUpload", "INTERNAL", "error getting upload id: error: aborted: mismatching lock", errors.LockedError),
    ("InitiateFileUpload", "INTERNAL", "error getting upload id: error: aborted: not locked", errors.LockLostError),
    ("InitiateFileUpload", "INTERNAL", "error: already exists", errors.ConflictError),
    ("InitiateFileUpload", "INTERNAL", "can't upload to mount path", errors.IsDirectoryError),
    ("InitiateFileUpload", "INSUFFICIENT_STORAGE", "quota exceeded", errors.QuotaError),
    ("InitiateFileUpload", "PERMISSION_DENIED", "permission denied", errors.AccessDeniedError),
    ("SetLock", "FAILED_PRECONDITION", "set lock: error: precondition failed: already locked", errors.LockedError),
    ("SetLock", "INTERNAL", "error setting lock", errors.ServerError),
    ("RefreshLock", "ABORTED", "refresh lock: error: aborted: mismatching lock ID", errors.LockLostError),
    ("RefreshLock", "FAILED_PRECONDITION", "reference not locked or caller does not hold the lock", errors.LockLostError),
    ("Unlock", "LOCKED", "unlock: error: locked by L1", errors.LockLostError),
    ("Unlock", "ABORTED", "unlock: error: aborted: lock does not exist", errors.LockLostError),
    ("GetLock", "gRPC UNIMPLEMENTED", "method not implemented", errors.UnsupportedError),
    ("ListContainer", "gRPC RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (11 vs. 10)", errors.TooLargeError),
    ("Stat", "gRPC RESOURCE_EXHAUSTED", "too many requests", errors.UnavailableError),
    ("Stat", "gRPC UNAVAILABLE", "failed to connect to all addresses", errors.UnavailableError),
    ("Stat", "gRPC DEADLINE_EXCEEDED", "Deadline Exceeded", errors.DeadlineError),
    ("Stat", "gRPC UNAUTHENTICATED", "auth: core access token not found", errors.SignInError),
    ("ListContainerStream", "gRPC UNKNOWN", "error: not supported: Unimplemented", errors.UnsupportedError),
    ("Stat", "INVALID", "", errors.ServerError),
    ("PUT", "HTTP 206", "", errors.BadDataError),
    ("PUT", "HTTP 409", "", errors.LockedError),
    ("PUT", "HTTP 412", "", errors.ConflictError),
    ("PUT", "HTTP 413", "", errors.QuotaError),
    ("PUT", "HTTP 419", "", errors.ChecksumError),
    ("PUT", "HTTP 423", "", errors.LockedError),
    ("PUT", "HTTP 500", "", errors.OutcomeUnknownError),
    ("PUT", "HTTP 503", "", errors.OutcomeUnknownError),
    ("PUT", "HTTP 507", "", errors.QuotaError),
    ("GET", "HTTP 500", "", errors.ServerError),
    ("GET", "HTTP 503", "", errors.UnavailableError),
    ("GET", "HTTP 416", "", errors.StaleError),
    ("GET", "HTTP 302", "", errors.ServerError),
]


@pytest.mark.parametrize(("call", "answer", "text", "kind"), MEASURED)
def test_what_servers_really_say_has_its_meaning(call: str, answer: str, text: str, kind: type[errors.Cs3FuseError]) -> None:
    """Answers recorded from Reva and OpenCloud become the failures that the core acts on."""
    error = error_for(call, answer, "/home/a", text=text, trace="t")
    assert type(error) is kind
    assert (error.call, error.path, error.trace) == (call, "/home/a", "t")


def test_every_code_but_ok_is_a_failure() -> None:
    """No CS3 or gRPC code falls through the table, 0 included."""
    names = [value.name for value in code_pb2.Code.DESCRIPTOR.values]
    assert len(names) > 20
    for name in names:
        assert isinstance(error_for("Stat", name.removeprefix("CODE_"), "/a"), errors.Cs3FuseError)
    for code in grpc.StatusCode:
        assert isinstance(error_for("Stat", f"gRPC {code.name}", "/a"), errors.Cs3FuseError)


def test_every_row_is_reachable_and_its_sentence_complete() -> None:
    """A row that a more general one hides, or a sentence with a wrong field, would be found only by the user."""
    for rule in RULES:
        call = min(rule.calls) if rule.calls else "AnyCall"
        assert rule_for(call, rule.answer, rule.hint) is rule
        message = str(error_for(call, rule.answer, "/home/a", text=rule.hint))
        assert "{" not in message
        assert message.endswith(".")


@given(st.sampled_from(["NOT_FOUND", "gRPC UNKNOWN", "HTTP 507", "99"]), st.text(), st.text())
def test_hostile_texts_never_break_a_sentence(answer: str, path: str, text: str) -> None:
    """Braces, control characters and lone surrogates in a server's text or a path are only text."""
    message = str(error_for("Stat", answer, path, text=text))
    assert message.isprintable()
    message.encode("utf-8")


def test_printable_cuts_long_text() -> None:
    """A server cannot fill the log with one message."""
    assert len(printable("x" * 10_000)) == 200


def test_the_reason_of_a_failed_connection_is_readable() -> None:
    """Without what gRPC puts in front of it."""
    text = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused"
    message = str(error_for("Stat", "gRPC UNAVAILABLE", "/a", text=text))
    assert "(Failed to connect to remote host: Connection refused)" in message
