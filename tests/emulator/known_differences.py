"""The table: in what the emulator and the recorded servers differ, and why that stays.

One list per file of recorded answers. `test_recorded_answers` fails for a difference that is not here, and for a row that has
become untrue.
"""

from tests.emulator.comparison import ANYTHING, WHOLE_FACT, Known
from tests.emulator.telling import ABSENT

_THERE = "(there)"
_SPEED = "How fast a server is does not belong to its answers."
_ASYNC_SIZE = "OpenCloud adds up the sizes of folders asynchronously; for an instant it had not counted one byte."

REVA: tuple[Known, ...] = (
    Known(("stat_latency_ms",), WHOLE_FACT, ABSENT, _THERE, _SPEED),
    Known(("received_shares",), "*", ANYTHING, ANYTHING, "Profile reva has no shares."),
)

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
