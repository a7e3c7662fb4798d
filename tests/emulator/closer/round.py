"""The whole closer look, topic by topic, on one gateway.

Called by `conftest`. Topics with later numbers meet what earlier ones left behind, as on the recorded server.
"""

from collections.abc import Callable
from functools import partial

from cs3fuse.emulator.server import EmulatorThread
from tests.emulator.caller import Caller
from tests.emulator.closer import (
    names,
    processing,
    projects,
    races,
    ranges,
    shares_life,
    shares_reading,
    shares_writing,
    tokens,
    trash,
    uploads,
    users,
)
from tests.emulator.closer.desk import Desk
from tests.emulator.gateways import OPENCLOUD_USERS, enter_home, target

STEPS: tuple[Callable[[Desk], None], ...] = (
    users.first_sign_in,
    *projects.STEPS,
    *shares_reading.STEPS,
    *shares_writing.STEPS,
    *shares_life.STEPS,
    *uploads.STEPS,
    *races.STEPS,
    *ranges.STEPS,
    *trash.STEPS,
    *names.STEPS,
    *tokens.STEPS,
    *processing.STEPS,
    users.filters,
    projects.trashed,
)


def look_closer(gateway: EmulatorThread) -> Desk:
    """Ask everything; the facts are in the result."""
    where = target(gateway)
    with Caller(where) as admin, Caller(where) as alan, Caller(where) as marie:
        admin.sign_in("admin", OPENCLOUD_USERS["admin"])
        enter_home(admin)
        desk = Desk(gateway, admin, alan, marie)
        for ask in STEPS:
            desk.step(f"{ask.__module__.rpartition('.')[2]}.{ask.__name__}", partial(ask, desk))
    return desk
