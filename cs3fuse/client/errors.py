"""The one table from what a server answered to what the core understands.

Owns the rules (call, answer, hint in the server's text) -> failure and sentence. An answer is a CS3 status code, a gRPC status or an
HTTP status. Called by everything in ``client``; holds no state, so any thread may use it. What a table cannot know (whether a file is
still there after Reva's INTERNAL) is settled by Stat in ``client.tree``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from cs3fuse import errors


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. ``calls`` empty holds for every call, ``hint`` is looked for in the server's text in lower case.

    ``sentence`` may use {path}, {call} and {said} (the server's own text in brackets, or nothing).
    """

    answer: str
    kind: type[errors.Cs3FuseError]
    sentence: str
    calls: frozenset[str] = frozenset()
    hint: str = ""


_HELD_LOCK_CALLS = frozenset({"RefreshLock", "Unlock"})
_UPLOAD = frozenset({"InitiateFileUpload"})
_CREATIONS = frozenset({"CreateContainer", "TouchFile"})
_SIGN_IN = frozenset({"Authenticate"})
_TRASH = frozenset({"ListRecycle", "RestoreRecycleItem", "PurgeRecycle"})
_NO_TRASH = "There is no trash of its own for {path}{said}."
_GET = frozenset({"GET"})
_PUT = frozenset({"PUT"})

_LOCK_LOST = "The lock on {path} is not ours any more{said}."
_LOCKED = "{path} is locked by somebody else{said}."
_CHANGED = "{path} was changed, created or deleted by somebody else meanwhile{said}."
_SERVER_FAILED = "The server failed at {call} of {path}{said}."
_CANNOT_REACH = "The server cannot be reached or is overloaded: {call} of {path}{said}."
_NO_ANSWER = "The server did not answer {call} of {path} in time."

# Rows are tried in this order among those of one answer; rows with a hint or with calls come before the general one.
# Sources: Reva pkg/rgrpc/status/status.go (codes), internal/grpc/interceptors/auth (texts), datagateway and datatx/manager/simple
# (HTTP); what OpenCloud answers was measured, build of 2025-02-13.
RULES: tuple[Rule, ...] = (
    # -- CS3 status ----------------------------------------------------------------------------------------------------------
    Rule("NOT_FOUND", errors.LockLostError, _LOCK_LOST, _HELD_LOCK_CALLS),
    Rule("NOT_FOUND", errors.NotFoundError, "There is no folder to put {path} into.", _CREATIONS),
    # OpenCloud, for the trash of a share or of a folder that is no space.
    Rule("NOT_FOUND", errors.UnsupportedError, _NO_TRASH, frozenset({"ListRecycle"})),
    Rule("NOT_FOUND", errors.NotFoundError, "There is no {path}."),
    Rule("ALREADY_EXISTS", errors.ConflictError, _CHANGED, _UPLOAD),
    Rule("ALREADY_EXISTS", errors.ExistsError, "{path} exists already."),
    Rule("PERMISSION_DENIED", errors.LockLostError, _LOCK_LOST, _HELD_LOCK_CALLS),
    Rule("PERMISSION_DENIED", errors.AccessDeniedError, "The server does not allow {call} of {path}{said}."),
    Rule("UNAUTHENTICATED", errors.SignInError, "The server does not accept the sign-in for {call} of {path}{said}."),
    Rule("FAILED_PRECONDITION", errors.ConflictError, _CHANGED, _UPLOAD),
    Rule("FAILED_PRECONDITION", errors.LockedError, _LOCKED, frozenset({"SetLock"})),
    Rule("FAILED_PRECONDITION", errors.LockLostError, _LOCK_LOST, _HELD_LOCK_CALLS),
    # OpenCloud says so when the parent is missing.
    Rule("FAILED_PRECONDITION", errors.NotFoundError, "There is no folder to put {path} into.", _CREATIONS),
    Rule("FAILED_PRECONDITION", errors.BadRequestError, "The server refuses {call} of {path} as things are{said}."),
    Rule("ABORTED", errors.LockLostError, _LOCK_LOST, _HELD_LOCK_CALLS),
    Rule("ABORTED", errors.LockLostError, _LOCK_LOST, hint="not locked"),
    Rule("ABORTED", errors.LockedError, _LOCKED),
    Rule("LOCKED", errors.LockLostError, _LOCK_LOST, _HELD_LOCK_CALLS),
    Rule("LOCKED", errors.LockedError, _LOCKED),
    Rule("TOO_EARLY", errors.BusyError, "The server is still processing {path}; try again in a moment."),
    Rule("INSUFFICIENT_STORAGE", errors.QuotaError, "There is no room left for {path} in the quota{said}."),
    Rule("RESOURCE_EXHAUSTED", errors.UnavailableError, _CANNOT_REACH),
    Rule(
        "UNIMPLEMENTED",
        errors.CrossStorageError,
        "{path} cannot be moved between two storages; copy it instead.",
        frozenset({"Move"}),
    ),
    Rule("UNIMPLEMENTED", errors.UnsupportedError, "This storage cannot do {call} ({path})."),
    # EOS lists 14 days and 2000 entries at most, unless its site says otherwise.
    Rule(
        "INVALID_ARGUMENT",
        errors.TooLargeError,
        "There is more in {path} than the server lists at once{said}.",
        frozenset({"ListRecycle"}),
        hint="too many",
    ),
    Rule("INVALID_ARGUMENT", errors.BadRequestError, "The server refuses {call} of {path} as malformed{said}."),
    Rule("OUT_OF_RANGE", errors.BadRequestError, "The server refuses {call} of {path} as malformed{said}."),
    Rule("UNAVAILABLE", errors.UnavailableError, _CANNOT_REACH),
    Rule("DEADLINE_EXCEEDED", errors.DeadlineError, _NO_ANSWER),
    Rule("REDIRECTION", errors.UnsupportedError, "{path} lives on another server, which is not followed{said}."),
    Rule("INTERNAL", errors.NotFoundError, "There is no {path}.", hint="path not found"),
    Rule("INTERNAL", errors.LockedError, _LOCKED, hint="mismatching lock"),
    Rule("INTERNAL", errors.LockLostError, _LOCK_LOST, hint="not locked"),
    Rule("INTERNAL", errors.ConflictError, _CHANGED, _UPLOAD, hint="already exists"),
    Rule("INTERNAL", errors.IsDirectoryError, "{path} is the root of a storage, not a file.", _UPLOAD, hint="mount path"),
    Rule(
        "INTERNAL",
        errors.NotPermittedError,
        "{path} is the root of a storage and cannot be deleted.",
        hint="can't delete mount path",
    ),
    Rule("UNKNOWN", errors.NotFoundError, "There is no {path}.", hint="path not found"),
    # -- gRPC ----------------------------------------------------------------------------------------------------------------
    Rule(
        "gRPC UNAVAILABLE",
        errors.UnavailableError,
        "The server's certificate is not trusted: its authority is unknown here or it names another host. Name the authority with --tls-ca.",
        hint="certificate_verify_failed",
    ),
    Rule(
        "gRPC UNAVAILABLE",
        errors.UnavailableError,
        "The server does not speak TLS there. Without TLS the address begins with cs3+plain://.",
        hint="wrong_version_number",
    ),
    Rule("gRPC UNAVAILABLE", errors.UnavailableError, "No TLS connection to the server could be made{said}.", hint="handshake"),
    Rule("gRPC UNAVAILABLE", errors.UnavailableError, "The name of the server is not known{said}.", hint="dns resolution failed"),
    Rule(
        "gRPC UNAVAILABLE",
        errors.UnavailableError,
        "The name of the server is not known: {path}.",
        _SIGN_IN,
        hint="errors resolving",
    ),
    Rule("gRPC UNAVAILABLE", errors.UnavailableError, "The name of the server is not known.", hint="errors resolving"),
    Rule("gRPC UNAVAILABLE", errors.UnavailableError, _CANNOT_REACH),
    Rule("gRPC DEADLINE_EXCEEDED", errors.DeadlineError, _NO_ANSWER),
    Rule(
        "gRPC RESOURCE_EXHAUSTED",
        errors.TooLargeError,
        "The answer to {call} of {path} is larger than the 10 MB that CS3 servers can send: the folder has too many entries.",
        hint="larger than max",
    ),
    Rule("gRPC RESOURCE_EXHAUSTED", errors.UnavailableError, _CANNOT_REACH),
    Rule(
        "gRPC UNIMPLEMENTED",
        errors.CrossStorageError,
        "{path} cannot be moved between two storages; copy it instead.",
        frozenset({"Move"}),
    ),
    Rule("gRPC UNIMPLEMENTED", errors.UnsupportedError, "This storage cannot do {call} ({path})."),
    Rule("gRPC UNAUTHENTICATED", errors.SignInError, "The server does not accept the sign-in for {call} of {path}{said}."),
    Rule("gRPC PERMISSION_DENIED", errors.AccessDeniedError, "The server does not allow {call} of {path}{said}."),
    Rule("gRPC NOT_FOUND", errors.NotFoundError, "There is no {path}."),
    Rule("gRPC INVALID_ARGUMENT", errors.BadRequestError, "The server refuses {call} of {path} as malformed{said}."),
    Rule(
        "gRPC UNKNOWN",
        errors.SignInError,
        "The server does not accept the sign-in for {call} of {path}{said}.",
        hint="user not found in context",
    ),
    Rule("gRPC UNKNOWN", errors.UnsupportedError, _NO_TRASH, _TRASH),
    Rule("gRPC UNKNOWN", errors.UnsupportedError, "This storage cannot do {call} ({path}){said}.", hint="not supported"),
    # -- HTTP ----------------------------------------------------------------------------------------------------------------
    Rule("HTTP 400", errors.BadRequestError, "The data server refuses {call} of {path} as malformed."),
    Rule("HTTP 401", errors.AccessDeniedError, "The data server does not accept the sign-in for {call} of {path}."),
    Rule("HTTP 403", errors.AccessDeniedError, "The data server does not allow {call} of {path}."),
    Rule("HTTP 404", errors.NotFoundError, "There is no {path}."),
    Rule("HTTP 405", errors.UnsupportedError, "The data server does not know {call} ({path})."),
    Rule("HTTP 409", errors.LockedError, _LOCKED),
    Rule("HTTP 412", errors.ConflictError, _CHANGED),
    Rule("HTTP 413", errors.QuotaError, "{path} is larger than the server, or a proxy before it, takes."),
    Rule("HTTP 416", errors.StaleError, "{path} became shorter meanwhile.", _GET),
    Rule("HTTP 419", errors.ChecksumError, "Other bytes of {path} arrived than were sent; the server did not store them."),
    Rule("HTTP 423", errors.LockedError, _LOCKED),
    Rule("HTTP 425", errors.BusyError, "The server is still processing {path}; try again in a moment.", _GET),
    Rule("HTTP 429", errors.UnavailableError, "The data server is overloaded: {call} of {path}."),
    Rule("HTTP 501", errors.UnsupportedError, "The data server does not know {call} ({path})."),
    Rule("HTTP 507", errors.QuotaError, "There is no room left for {path}."),
    # A body may have been stored before the answer failed; only Stat can tell.
    *(
        Rule(
            f"HTTP {status}",
            errors.OutcomeUnknownError,
            "The data server failed while {path} was sent (HTTP " + str(status) + "); whether it was stored is not known.",
            _PUT,
        )
        for status in (408, 425, 500, 502, 503, 504)
    ),
    *(
        Rule(f"HTTP {status}", errors.UnavailableError, "The data server is not available: {call} of {path}.", _GET)
        for status in (502, 503, 504)
    ),
    # 206 to a PUT: the name or the framing made the server take it for a piece of a chunked upload; nothing was stored.
    Rule("HTTP 206", errors.BadDataError, "The server took {path} for a piece of a larger upload and did not store it.", _PUT),
)

# What gRPC puts in front of the reason why it has no connection.
_CONNECT_NOISE = re.compile(r"^failed to connect to all addresses; last error: (\w+: )?(ip[^ ]*: )?", re.IGNORECASE)

_GENERAL = Rule("", errors.ServerError, _SERVER_FAILED)


def _index(rules: tuple[Rule, ...]) -> dict[str, tuple[Rule, ...]]:
    by_answer: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        by_answer[rule.answer].append(rule)
    return {answer: tuple(sorted(found, key=lambda rule: not (rule.hint or rule.calls))) for answer, found in by_answer.items()}


_BY_ANSWER = _index(RULES)


def rule_for(call: str, answer: str, text: str = "") -> Rule:
    """The row that holds for an answer; a row with a fitting hint or call comes before a general one."""
    lowered = text.lower()
    for rule in _BY_ANSWER.get(answer, ()):
        if rule.calls and call not in rule.calls:
            continue
        if rule.hint and rule.hint not in lowered:
            continue
        return rule
    return _GENERAL


def error_for(call: str, answer: str, path: str, *, text: str = "", trace: str = "") -> errors.Cs3FuseError:
    """The failure for an answer.

    Args: ``answer`` is a CS3 code's name without "CODE_" ("NOT_FOUND"), "gRPC " and a status name, or "HTTP " and a number; ``text``
    is what the server said with it (foreign text: it is cut and made printable).
    """
    rule = rule_for(call, answer, text)
    said = printable(_CONNECT_NOISE.sub("", text))
    if rule is _GENERAL:
        said = f"{answer}: {said}" if said else answer
    sentence = rule.sentence.format(call=call, path=printable(path, limit=400), said=f" ({said})" if said else "")
    return rule.kind(sentence, call=call, path=path, trace=trace)


def printable(text: str, *, limit: int = 200) -> str:
    """Foreign text for a sentence or a log line: at most ``limit`` characters, control characters as "?"."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    if cut.isprintable():  # as nearly always: this is asked for each call
        return cut
    return "".join(character if character.isprintable() else "?" for character in cut).encode("utf-8", "replace").decode("utf-8")
