"""Which recorded facts of the mesh are not asked of the emulators, and why.

`test_mesh` fails for a recorded fact that is neither asked nor here, and for one that is both. Patterns are those of `fnmatch`, but
for brackets, which stand for themselves.
"""

import fnmatch

_SPEED = "How fast the sites were; no answer of their own."
_MIDWAY = "How far a download got is chance; test_mesh_links asks what its reader sees."
_OUTGOING = "A mount of the sending side, which the emulator does not have."
_THAW = "Says how long the site was frozen."

NOT_ASKED: dict[str, str] = {
    "latency_ms:*": _SPEED,
    "parallel_16x_stat": _SPEED,
    "*:get_midway": _MIDWAY,
    "other_user_of_site_a": _OUTGOING,
    "same_site:wrong_mount": _OUTGOING,
    "frozen:thaw": _THAW,
}


def reasons(name: str) -> list[str]:
    """The patterns that a fact matches."""
    return [pattern for pattern in NOT_ASKED if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))]
