"""The whole probe: every question, in the order in which the real servers were asked.

Called by `test_recorded_answers`.
"""

from collections.abc import Callable
from functools import partial

from tests.emulator import probe_transfers, probe_tree
from tests.emulator.caller import Caller
from tests.emulator.probe import Probe

_STEPS: tuple[Callable[[Probe], None], ...] = (
    probe_tree.looking_around,
    probe_tree.making,
    probe_transfers.first_upload,
    probe_transfers.downloads,
    probe_transfers.transfer_tokens,
    probe_transfers.downloads_of_nothing,
    probe_transfers.uploads_in_odd_places,
    probe_transfers.overwrites,
    probe_transfers.truncated_put,
    probe_tree.listing,
    probe_tree.moving,
    probe_tree.by_id,
    probe_tree.etags,
    probe_tree.metadata,
    probe_tree.locking,
    probe_tree.versions_and_quota,
    probe_tree.spaces_and_shares,
    probe_tree.deleting,
    probe_tree.odd_names,
)
"""Later questions meet what earlier ones left behind: the order is part of the facts."""


def ask_everything(caller: Caller, home: str, user: str, secret: str) -> Probe:
    """Sign in and ask; the facts are in the result."""
    probe = Probe(caller, home)
    probe_tree.signing_in(probe, user, secret)
    for ask in _STEPS:
        probe.step(ask.__name__, partial(ask, probe))
    return probe
