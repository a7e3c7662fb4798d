"""The table: in what the emulator and the recorded servers differ, and why that stays.

One list per file of recorded answers. `test_recorded_answers` fails for a difference that is not here, and for a row that has
become untrue.
"""

from tests.emulator.comparison import ANYTHING, WHOLE_FACT, Known
from tests.emulator.telling import ABSENT

_THERE = "(there)"
_SPEED = "How fast a server is does not belong to its answers."
_ASYNC_SIZE = "OpenCloud adds up the sizes of folders asynchronously; for an instant it had not counted one byte."

REVA: tuple[Known, ...] = (Known(("stat_latency_ms",), WHOLE_FACT, ABSENT, _THERE, _SPEED),)

OPENCLOUD: tuple[Known, ...] = (
    Known(("stat_latency_ms",), WHOLE_FACT, ABSENT, _THERE, _SPEED),
    Known(
        ("overwrite",),
        "after.opaque.status",
        ABSENT,
        "processing",
        "Whether a Stat still meets the post-processing is a matter of milliseconds; here it is switched off, test_closer_uploads asks for it.",
    ),
    Known(("overwrite",), "before.space.opaque.quota.used", "1048577", "1048576", _ASYNC_SIZE),
    Known(("overwrite",), "before.space.rootInfo.size", "1048577", "1048576", _ASYNC_SIZE),
    Known(("recycle",), "n", 0, 2, "Two folders of earlier rounds lay in the recorded server's trash."),
)

_APP_SCOPE = "An application password of the emulator always opens everything; only the empty scope, useless anyway, differs."
_FILLED = "Other measurements had filled admin's space with 845 MB."
_NO_IDP = "The recorded server had no service for `bearer`; the emulator has one, for tests of that sign-in."
_TYPES = "The emulator knows none of these types; the server knows them and refuses the secret, with the same code."
_MARIE = "The emulator's marie has her full name."
_ON_DISK = "The emulator keeps files under their own names: its limit is the 4096 bytes of a path on disk."
_TWICE = "The recorded server had counted four bytes more: those of the PUT that was shorter than announced, once more."
_TEXT = "Only the text differs; nobody reads it."

CLOSER: tuple[Known, ...] = (
    Known(
        ("token_claims",), "claims.num", ANYTHING, ABSENT, "The emulator counts its tokens, to let all of them expire on request."
    ),
    Known(("first_authenticate_marie", "whoami"), "user.displayName", "Marie Curie", "Marie", _MARIE),
    Known(("quota_project_admin",), "resp.usedBytes", "30", "34", _TWICE),
    Known(("quota_project_admin",), "resp.opaque.remaining", "999970", "999966", _TWICE),
    Known(("createshare_again",), "msg", "error creating share: error: already exists", ANYTHING, _TEXT),
    Known(("download_view:path_/Shares",), "init.msg", ANYTHING, ANYTHING, _TEXT),
    Known(
        ("mountpoint_space_full_view", "mountpoint_space_full_single", "mountpoint_space_docs1", "grant_space_full_view"),
        "space.rootInfo.space.opaque.quota.used",
        ANYTHING,
        "845576946",
        _FILLED,
    ),
    Known(
        ("mountpoint_space_full_view", "mountpoint_space_full_single", "mountpoint_space_docs1", "grant_space_full_view"),
        "space.rootInfo.space.rootInfo.size",
        ANYTHING,
        "845576946",
        _FILLED,
    ),
    Known(
        ("race_zero_byte_if_not_exist_parallel_init",),
        "codes[0][0]",
        "ALREADY_EXISTS",
        "INTERNAL",
        "The server checks and creates in two steps; the emulator in one, so that its loser is refused by the check.",
    ),
    Known(("race_zero_byte_if_not_exist_parallel_init",), "codes[0][1]", ANYTHING, ANYTHING, "The text that goes with that code."),
    Known(
        ("multirange_100000_ranges_header",),
        "status",
        400,
        431,
        "The HTTP library of the emulator refuses headers of more than 1 MiB with its own status.",
    ),
    Known(("multirange_100000_ranges_header",), "body", ANYTHING, ANYTHING, "The text that goes with that status."),
    Known(("auth_type:serviceaccounts:x", "auth_type:ocmshares:x"), "msg", ANYTHING, ANYTHING, _TYPES),
    Known(("appauth_authenticate:cs3_empty_scope:appauth:name",), "scope*", ANYTHING, ANYTHING, _APP_SCOPE),
    Known(("appauth_authenticate:cs3_empty_scope:appauth:name",), "spaces", "OK", "INTERNAL", _APP_SCOPE),
    Known(("appauth_authenticate:cs3_empty_scope:appauth:name",), "stat", "OK", "NOT_FOUND", _APP_SCOPE),
    Known(("appauth_authenticate:cs3_empty_scope:appauth:name",), "upload", 200, None, _APP_SCOPE),
    Known(
        ("appauth_authenticate:cs3_empty_scope:bearer:none", "appauth_authenticate:cs3_user_scope:bearer:none"),
        "code",
        "UNAUTHENTICATED",
        "INTERNAL",
        _NO_IDP,
    ),
    Known(
        ("appauth_authenticate:cs3_empty_scope:bearer:none", "appauth_authenticate:cs3_user_scope:bearer:none"),
        "msg",
        ANYTHING,
        ANYTHING,
        _NO_IDP,
    ),
    Known(("deep_path",), "fail", ANYTHING, None, _ON_DISK),
    Known(("deep_path",), "stat_full_path", "INTERNAL", "OK", _ON_DISK),
    Known(("deep_path",), "msg", ANYTHING, "", _ON_DISK),
)

_LAB = "Of the lab's configuration: what the sites are called, and who their users are."
_TRACE = "The trace of another emulator's call is hexadecimal digits; Reva's is a UUID."
_FOR_BROWSERS = "Headers for browsers and ownCloud clients; the receiving site reads none of them."
_GO_SPACES = "Go prints one or two spaces between fields, by the build; the emulator always two."
_EINSTEIN = ("authenticate:einstein", "authenticate:einstein#2", "authenticate:einstein#3")

MESH: tuple[Known, ...] = (
    Known((*_EINSTEIN, "authenticate:richard", "authenticate:marie"), "user.mail", "*@example.org", "*.example.org", _LAB),
    Known(("accepted_users:einstein", "accepted_users:marie"), "users[0].mail", "*@example.org", "*.example.org", _LAB),
    Known(("forward_invite",), "answer.email", "*@example.org", "*.example.org", _LAB),
    Known(("spaces",), "spaces[0].owner.mail", "*@example.org", "*.example.org", _LAB),
    Known(("authenticate:richard",), "user.uidNumber", "1001", "1002", _LAB),
    Known(("authenticate:marie",), "user.uidNumber", "1000", "1001", _LAB),
    Known(("spaces",), "spaces[0].owner.uidNumber", "1000", "1001", _LAB),
    Known(("providers",), "providers*", ANYTHING, ANYTHING, _LAB),
    Known(("forward_invite",), "answer.status.trace", ANYTHING, "<uuid>", _TRACE),
    Known(("direct_webdav_get", "direct_webdav_range"), "headers.*", ABSENT, ANYTHING, _FOR_BROWSERS),
    Known(("mount_wrong",), "storage_id.msg", ANYTHING, ANYTHING, _GO_SPACES),
    Known(("us_create_again",), "details", "*: already exists", "*: already exists: owner:{*", _TEXT),
)
