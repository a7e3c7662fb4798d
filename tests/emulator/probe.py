"""Asks a gateway the questions that were asked of the real servers, in the same order, and notes the answers.

Owns the order (later questions meet what earlier ones left behind) and the notebook. The questions themselves are in
`probe_transfers` and `probe_tree`; each function there asks what belongs together. One probe, one thread, one folder.
"""

import time
from collections.abc import Callable
from typing import Any

from tests.emulator.caller import Answer, Caller, HttpAnswer, Transfer
from tests.emulator.recorded import Fact


class Probe:
    """One round of questions in a folder of its own.

    Args:
        caller: asks; not signed in yet.
        home: path of the user's home; "" if the caller's root is the home.

    """

    def __init__(self, caller: Caller, home: str) -> None:
        self.caller = caller
        self.home = home
        self.base = f"{home}/probe-{int(time.time())}"
        self.file = f"{self.base}/file with spaces ünï #%?.root"
        self.facts: dict[str, Fact] = {}
        self.failure: Exception | None = None

    def note(self, name: str, *parts: Fact, **fields: Any) -> None:
        """Write down one fact."""
        fact: Fact = {}
        for part in (*parts, fields):
            fact |= part
        self.facts[name] = fact

    def ask(self, *steps: Callable[["Probe"], None]) -> None:
        """Ask step by step; a step that cannot go on ends the round, what was noted stays."""
        for step in steps:
            try:
                step(self)
            except Exception as error:
                self.failure = error
                return


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
