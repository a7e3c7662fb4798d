"""Faults on request, seeded, and the log of every call served.

Owns the rules that spoil answers and the record of what was answered. `gateway` and `datagateway` ask for the
effects of each call on the server's loop; `set_rules` and `clear` replace one reference and may be called from any
thread, as may the reading of the log.
"""

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import count
from typing import Any, Literal

_LOG_LIMIT = 100_000
_FREEZE_POLL_S = 0.02


@dataclass
class FaultRule:
    """When to spoil a call, and how. All given conditions must hold; an empty rule matches every call.

    Args:
        call: regular expression for the whole RPC name; such a rule never matches HTTP.
        method: regular expression for the whole HTTP method; such a rule never matches gRPC.
        path: regular expression searched in the path below the root ("/einstein/a.txt").
        user: name of the caller.
        nth: fire at this matching call only, counted from 1.
        every: fire at every n-th matching call.
        after: let this many matching calls pass first.
        times: fire at most so often.
        probability: chance to fire, drawn from the emulator's seed.
        delay_s: wait before the work [s].
        answer_delay_s: wait between the work and the answer [s].
        freeze: wait until the rule is removed; then go on as if nothing had been.
        expire_tokens: expire all access tokens before the call is looked at.
        grpc: answer with this gRPC error, "UNAVAILABLE".
        status: answer with this CS3 status, "INTERNAL".
        message: text of that error or status.
        http_status: answer with this HTTP status, and `body`.
        headers: headers of that answer.
        body: body of that answer.
        after_bytes: take so many bytes of the request's body first; what came is kept by the server.
        reset_after_bytes: break the connection after so many body bytes.
        direction: whose body is counted.
        how: break with a TCP reset, or with an ordinary close.
        drop_answer: do the work, then break the connection (gRPC: UNAVAILABLE) instead of answering.
        bytes_per_s: send or take a body no faster than this [bytes/s].
        shorten_to: GET sends a complete answer of only so many bytes, as if the file were shorter than its Stat says.
        extra_entries: names that ListContainer adds, as broken servers do ("a/b", "..") or as for entries that vanish.

    """

    call: str | None = None
    method: str | None = None
    path: str | None = None
    user: str | None = None
    nth: int | None = None
    every: int | None = None
    after: int = 0
    times: int | None = None
    probability: float = 1.0
    delay_s: float = 0.0
    answer_delay_s: float = 0.0
    freeze: bool = False
    expire_tokens: bool = False
    grpc: str | None = None
    status: str | None = None
    message: str = "injected fault"
    http_status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    after_bytes: int | None = None
    reset_after_bytes: int | None = None
    direction: Literal["request", "response"] = "response"
    how: Literal["reset", "close"] = "reset"
    drop_answer: bool = False
    bytes_per_s: float | None = None
    shorten_to: int | None = None
    extra_entries: tuple[str, ...] = ()
    seen: int = 0
    fired: int = 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FaultRule":
        """A rule from its JSON form. Raises: ValueError for an unknown field or a broken pattern."""
        known = {item.name for item in fields(cls)} - {"seen", "fired"}
        unknown = set(values) - known
        if unknown:
            raise ValueError(f"A fault rule has no field {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}.")
        rule = cls(**values)
        for pattern in (rule.call, rule.method, rule.path):
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise ValueError(f"The pattern {pattern!r} of a fault rule is broken: {error}.") from error
        return rule

    def applies(self, kind: str, name: str, path: str, user: str) -> bool:
        """Whether the conditions on the call itself hold."""
        if kind == "grpc" and self.method is not None and self.call is None:
            return False
        if kind == "http" and self.call is not None and self.method is None:
            return False
        pattern = self.call if kind == "grpc" else self.method
        if pattern is not None and re.fullmatch(pattern, name) is None:
            return False
        if self.path is not None and re.search(self.path, path) is None:
            return False
        return self.user is None or self.user == user

    def fires(self, chance: random.Random) -> bool:
        """Count a matching call and tell whether this one is spoiled."""
        self.seen += 1
        number = self.seen - self.after
        if number < 1 or (self.nth is not None and number != self.nth):
            return False
        if self.every is not None and number % self.every:
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        if self.probability < 1.0 and chance.random() >= self.probability:
            return False
        self.fired += 1
        return True


class FaultBook:
    """The rules in force."""

    def __init__(self, seed: int) -> None:
        self.rules: tuple[FaultRule, ...] = ()
        self._random = random.Random(seed)

    def set_rules(self, rules: Iterable[Mapping[str, Any] | FaultRule]) -> None:
        """Replace all rules. Raises: ValueError for a rule that cannot be understood."""
        self.rules = tuple(rule if isinstance(rule, FaultRule) else FaultRule.from_json(rule) for rule in rules)

    def add(self, **values: Any) -> FaultRule:
        """Add one rule and return it, for its counters. Raises: ValueError."""
        rule = FaultRule.from_json(values)
        self.rules = (*self.rules, rule)
        return rule

    def remove(self, rule: FaultRule) -> None:
        """Take one rule out of force; a frozen call behind it goes on."""
        self.rules = tuple(item for item in self.rules if item is not rule)

    def clear(self) -> None:
        """Remove all rules."""
        self.rules = ()

    def effects(self, kind: Literal["grpc", "http"], name: str, path: str, user: str) -> tuple[FaultRule, ...]:
        """The rules that fire for one call; counts it."""
        return tuple(rule for rule in self.rules if rule.applies(kind, name, path, user) and rule.fires(self._random))

    async def hold(self, effects: tuple[FaultRule, ...]) -> None:
        """Delay and freeze as the effects say."""
        for rule in effects:
            if rule.delay_s:
                await asyncio.sleep(rule.delay_s)
            while rule.freeze and rule in self.rules:
                await asyncio.sleep(_FREEZE_POLL_S)

    async def hold_answer(self, effects: tuple[FaultRule, ...]) -> None:
        """Delay between the work and the answer."""
        for rule in effects:
            if rule.answer_delay_s:
                await asyncio.sleep(rule.answer_delay_s)


@dataclass(slots=True)
class Served:
    """One call in the log.

    Args:
        number: consecutive, from 1.
        kind: grpc or http.
        name: RPC name or HTTP method.
        path: path below the root, as far as known.
        code: CS3 code, gRPC code or HTTP status; "dropped" when no answer went out, empty while the call is running.
        received: body bytes of the request (HTTP).
        sent: body bytes of the answer (HTTP).
        started: seconds since the epoch.
        duration_s: time until the answer was handed over.

    """

    number: int
    kind: str
    name: str
    path: str
    user: str = ""
    code: str = ""
    received: int = 0
    sent: int = 0
    started: float = 0.0
    duration_s: float = 0.0


class CallLog:
    """The latest calls, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Served] = deque(maxlen=_LOG_LIMIT)
        self._numbers = count(1)

    def begin(self, kind: str, name: str) -> Served:
        """A new entry: a call counts from its beginning, what became of it is filled in."""
        entry = Served(next(self._numbers), kind, name, "", started=time.time())
        self._entries.append(entry)
        return entry

    def finish(self, entry: Served) -> None:
        """The answer went out."""
        entry.duration_s = time.time() - entry.started

    def entries(self, since: int = 0) -> list[Served]:
        """Calls whose number is larger than `since`, those still running included."""
        return [entry for entry in list(self._entries) if entry.number > since]

    def clear(self) -> None:
        """Forget all entries; numbers go on."""
        self._entries.clear()
