"""Takes out of facts of the mesh what belongs to one run: folders, ports, names of storages.

Applied to both sides of a comparison by `test_mesh`. Pure, safe everywhere.
"""

import base64
import json
import re

from tests.emulator.recorded import Fact

_SPACE = re.compile(r"F5XWG3JP[A-Z2-7]+=*")
"""A space id below `/ocm`: the path of the share, which has a random id in it."""

_OF_CHANCE = {"frozen:hundred_hung": ("stat_home_meanwhile_ms",), "change_seen": ("seconds",)}
"""Measured times."""


def settle(name: str, fact: Fact | None, ports: dict[int, int] | None = None) -> Fact | None:
    """The fact without what is of one run; `ports` are those of ours with the recorded ones that they stand for."""
    if fact is None:
        return None
    text = json.dumps(fact, ensure_ascii=False)
    for ours, recorded in (ports or {}).items():
        text = text.replace(f"127.0.0.1:{ours}", f"127.0.0.1:{recorded}")
    text = re.sub(r"mesh-\d+", "mesh-1", text)
    text = re.sub(r"\blocal-[ab]\b", "local", text)
    text = _SPACE.sub(lambda found: base64.b32decode(found.group()).decode(), text)
    settled = dict(json.loads(text))
    if name == "ocm_list_order":
        return {"random": settled["distinct_orders_in_10_calls"] > 1}
    for field in _OF_CHANCE.get(name, ()):
        settled.pop(field, None)
    if name == "root_list":
        settled["entries"] = [[path, shown, size > 0] for path, shown, size in settled["entries"]]
    if name == "spaces":
        settled["spaces"] = [space for space in settled["spaces"] if space["spaceType"] == "personal"]
    return settled
