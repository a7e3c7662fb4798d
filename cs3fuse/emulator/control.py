"""The control endpoints below `/_control`: how a test in another process spoils, watches and changes a gateway.

Owns their URLs and JSON; served by `datagateway` only when the configuration says so. Runs on the server's loop.

| request | meaning |
|---|---|
| POST faults, GET faults, DELETE faults | add rules (see `faults.FaultRule`), show them with their counters, remove all |
| GET log?since=N, DELETE log | calls served since entry N, forget them |
| POST expire | all access tokens expire now |
| POST clock {"skew_s": S} | the gateway's clock goes wrong |
| POST quirks {NAME: VALUE} | switch habits (see `profiles.QUIRKS`) |
| POST peers {SITE: URL, ...} or {SITE: {"url": U, "state": S}, ...}, GET peers | other sites, and how they are reached |
| POST change {"op": OP, "user": U, "path": P, ...} | what another client does (see `changes.Changes`) |
"""

import base64
import dataclasses
from typing import Any

from aiohttp import web

from cs3fuse.emulator.changes import Changes
from cs3fuse.emulator.failures import GrpcAbort, HttpRefusal, Refusal
from cs3fuse.emulator.faults import CallLog, FaultBook
from cs3fuse.emulator.ocm import MeshHandlers
from cs3fuse.emulator.ocm_peers import Peers
from cs3fuse.emulator.profiles import QUIRKS, Profile
from cs3fuse.emulator.proto import code_pb2


class Control:
    """Dispatches the control requests."""

    def __init__(self, profile: Profile, faults: FaultBook, log: CallLog, quirks: dict[str, float]) -> None:
        self._profile = profile
        self._faults = faults
        self._log = log
        self._quirks = quirks
        self._changes = Changes(profile)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one control request.

        A request that cannot be understood gets 400 and a sentence, a change that the gateway refuses 409 and the
        refusal's code.
        """
        try:
            return web.json_response(await self._dispatch(request))
        except Refusal as refusal:
            name = code_pb2.Code.Name(refusal.code).removeprefix("CODE_")
            return web.json_response({"code": name, "error": refusal.message}, status=409)
        except GrpcAbort as abort:
            return web.json_response({"code": abort.code.name, "error": abort.details}, status=409)
        except HttpRefusal as refusal:
            return web.json_response({"code": str(refusal.status), "error": "the data server refused"}, status=409)
        except (ValueError, TypeError, KeyError, OSError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)

    async def _dispatch(self, request: web.Request) -> Any:
        match (request.method, request.path.removeprefix("/_control/")):
            case ("POST", "faults"):
                wanted = await request.json()
                for values in wanted if isinstance(wanted, list) else [wanted]:
                    self._faults.add(**values)
            case ("DELETE", "faults"):
                self._faults.clear()
            case ("GET", "faults"):
                return [dataclasses.asdict(rule) for rule in self._faults.rules]
            case ("GET", "log"):
                entries = self._log.entries(int(request.query.get("since", "0")))
                return [dataclasses.asdict(entry) for entry in entries]
            case ("DELETE", "log"):
                self._log.clear()
            case ("POST", "expire"):
                self._profile.tokens.expire_all()
            case ("POST", "clock"):
                self._profile.clock.skew_s = float((await request.json())["skew_s"])
            case ("POST", "quirks"):
                self._set_quirks(await request.json())
            case ("POST", "peers"):
                self._set_peers(await request.json())
            case ("GET", "peers"):
                return self._peers.describe()
            case ("POST", "change"):
                return await self._change(await request.json())
            case (_, path):
                raise ValueError(f"there is no control endpoint {request.method} {path}")
        return {}

    def _set_quirks(self, wanted: dict[str, Any]) -> None:
        unknown = set(wanted) - set(QUIRKS)
        if unknown:
            raise ValueError(f"there is no quirk {', '.join(sorted(unknown))}")
        self._quirks.update({name: float(value) for name, value in wanted.items()})

    @property
    def _peers(self) -> Peers:
        if not isinstance(self._profile, MeshHandlers):
            raise ValueError("this gateway has no site name, so it takes part in no mesh")  # noqa: TRY004 - the caller sees 400
        return self._profile.peers

    def _set_peers(self, wanted: dict[str, Any]) -> None:
        for site, details in wanted.items():
            values = {"url": details} if isinstance(details, str) else details
            self._peers.put(site, **values)

    async def _change(self, wanted: dict[str, Any]) -> Any:
        changes, user, path = self._changes, wanted["user"], wanted.get("path", "")
        lock_id, app_name = wanted.get("lock_id", ""), wanted.get("app_name", "")
        match wanted["op"]:
            case "home":
                await changes.home(user)
            case "write":
                data = base64.b64decode(wanted["base64"]) if "base64" in wanted else wanted["text"].encode()
                await changes.write(path, data, user, lock_id=lock_id, app_name=app_name)
            case "mkdir":
                await changes.mkdir(path, user)
            case "delete":
                await changes.delete(path, user)
            case "rename":
                await changes.rename(path, wanted["target"], user)
            case "lock":
                await changes.lock(path, user, lock_id, app_name, float(wanted.get("life_s", 300.0)))
            case "unlock":
                await changes.unlock(path, user, lock_id, app_name)
            case "share":
                return {"share": await changes.share(path, user, wanted["receiver"], wanted.get("role", "editor"))}
            case "invite":
                return {"token": await changes.invite(user)}
            case "accept_invite":
                await changes.accept_invite(user, wanted["token"], wanted["site"])
            case "mesh_share":
                details = {name: wanted[name] for name in ("role", "expires_s", "requirements") if name in wanted}
                return await changes.mesh_share(path, user, wanted["receiver"], wanted["site"], **details)
            case "mesh_unshare":
                await changes.mesh_unshare(wanted["share"], user)
            case other:
                raise ValueError(f"there is no change {other!r}")
        return {}
