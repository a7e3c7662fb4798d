"""All questions about the mesh, topic by topic, to two emulators.

Called by `conftest`. The order is that of the records: later topics meet what earlier ones left behind.
"""

from collections.abc import Callable
from functools import partial

from tests.emulator.mesh import absent, deceived, inviting, looking, one_site, reading, sharing, user_sharing, writing
from tests.emulator.mesh.desk import MeshDesk

STEPS: tuple[Callable[[MeshDesk], None], ...] = (
    inviting.signing_in,
    inviting.inviting,
    sharing.preparing,
    sharing.creating,
    sharing.accepting,
    looking.mount,
    looking.shares,
    looking.ids,
    reading.downloads,
    reading.around_the_site,
    writing.uploads,
    writing.uploads_by_rights,
    writing.making,
    writing.moving,
    writing.deleting,
    writing.missing_features,
    looking.names_in_shares,
    reading.changes_by_the_owner,
    sharing.changing_rights,
    sharing.expiring,
    sharing.exchanging_tokens,
    sharing.owner_moves_on,
    sharing.revoking,
    user_sharing.user_sharing,
    one_site.one_site,
    absent.stopped,
    absent.frozen,
    deceived.deceived,
)


def ask_the_mesh(desk: MeshDesk) -> None:
    """Ask everything; the facts are in the desk."""
    for ask in STEPS:
        desk.step(f"{ask.__module__.rpartition('.')[2]}.{ask.__name__}", partial(ask, desk))
