"""The control endpoints below `/_control`: how a test in another process spoils, watches and changes a gateway.

Owns their URLs and JSON; served by `datagateway` only when the configuration says so. Runs on the server's loop.
"""

import dataclasses
from typing import Any

from aiohttp import web

from cs3fuse.emulator.faults import CallLog, FaultBook
from cs3fuse.emulator.profiles import QUIRKS, Profile


class Control:
    """Dispatches the control requests."""

    def __init__(self, profile: Profile, faults: FaultBook, log: CallLog, quirks: dict[str, float]) -> None:
        self._profile = profile
        self._faults = faults
        self._log = log
        self._quirks = quirks

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one control request; a request that cannot be understood gets 400 and a sentence."""
        try:
            return await self._dispatch(request)
        except (ValueError, TypeError, KeyError, OSError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        match (request.method, request.path.removeprefix("/_control/")):
            case ("POST", "faults"):
                self._faults.set_rules([*self._faults.rules, *_as_list(await request.json())])
            case ("DELETE", "faults"):
                self._faults.clear()
            case ("GET", "faults"):
                return web.json_response([dataclasses.asdict(rule) for rule in self._faults.rules])
            case ("GET", "log"):
                entries = self._log.entries(int(request.query.get("since", "0")))
                return web.json_response([dataclasses.asdict(entry) for entry in entries])
            case ("DELETE", "log"):
                self._log.clear()
            case ("POST", "expire"):
                self._profile.tokens.expire_all()
            case ("POST", "clock"):
                self._profile.clock.skew_s = float((await request.json())["skew_s"])
            case ("POST", "quirks"):
                wanted = await request.json()
                unknown = set(wanted) - set(QUIRKS)
                if unknown:
                    raise ValueError(f"there is no quirk {', '.join(sorted(unknown))}")
                self._quirks.update({name: float(value) for name, value in wanted.items()})
            case _:
                return web.json_response({"error": "no such control endpoint"}, status=404)
        return web.json_response({})


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
