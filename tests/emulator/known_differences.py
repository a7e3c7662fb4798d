"""The table: in what the emulator and the recorded servers differ, and why that stays.

One list per file of recorded answers. `test_recorded_answers` fails for a difference that is not here, and for a row that has
become untrue.
"""

from tests.emulator.comparison import ANYTHING, WHOLE_FACT, Known
from tests.emulator.telling import ABSENT

_THERE = "(there)"

REVA: tuple[Known, ...] = (
    Known(("stat_latency_ms",), WHOLE_FACT, ABSENT, _THERE, "How fast a server is does not belong to its answers."),
    Known(("received_shares",), "*", ANYTHING, ANYTHING, "Profile reva has no shares."),
)
