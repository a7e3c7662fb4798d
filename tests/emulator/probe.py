"""Asks a gateway the questions that were asked of the real servers, in the same order, and notes the answers.

Owns the folder that is worked in, and the shape in which answers are noted. The questions are in `probe_transfers` and
`probe_tree`, their order in `scenario`. One probe, one thread, one folder.
"""

import time

from tests.emulator.caller import Answer, Caller, HttpAnswer, Transfer
from tests.emulator.notebook import Notebook
from tests.emulator.recorded import Fact


class Probe(Notebook):
    """One round of questions in a folder of its own.

    Args:
        caller: asks; not signed in yet.
        home: path of the user's home; "" if the caller's root is the home.

    """

    def __init__(self, caller: Caller, home: str) -> None:
        super().__init__()
        self.caller = caller
        self.home = home
        self.base = f"{home}/probe-{int(time.time())}"
        self.file = f"{self.base}/file with spaces ünï #%?.root"


def http_fact(answer: HttpAnswer) -> Fact:
    """A download's answer as it was recorded."""
    return {"status": answer.status, "headers": answer.headers, "len": len(answer.body), "sha": answer.sha}


def put_fact(answer: HttpAnswer) -> Fact:
    """A PUT's answer as it was recorded."""
    return {"status": answer.status, "headers": answer.headers, "body": answer.body[:200].decode("utf-8", "replace")}


def protocols_fact(transfer: Transfer) -> list[Fact]:
    """The ways of an initiation as they were recorded."""
    return [{"protocol": way.protocol, "endpoint": way.url, "token": bool(way.token)} for way in transfer.endpoints]


def upload_fact(transfer: Transfer) -> Fact:
    """Initiation and PUT as they were recorded."""
    if transfer.http is None:
        return {"init": transfer.init.status}
    return {"init": transfer.init.status, "protocols": protocols_fact(transfer), "put": put_fact(transfer.http)}


def download_fact(transfer: Transfer) -> Fact:
    """Initiation and GET as they were recorded."""
    if transfer.http is None:
        return {"init": transfer.init.status}
    return {"init": transfer.init.status, "protocols": protocols_fact(transfer), **http_fact(transfer.http)}


def count(answer: Answer, field: str) -> int | None:
    """How many messages a field has; None if the call failed below CS3."""
    return None if answer.message is None else len(answer.get(field))
