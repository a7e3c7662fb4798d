"""The other side of `control`, for tests and benchmarks: an emulator as a process, and its control endpoints as methods.

Owns the child process it starts. Blocking; a client may be used from any thread. Imports nothing of the server.
"""

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_TIMEOUT_S = 30.0


class ControlError(Exception):
    """The gateway refused a control request; `code` is the refusal's code, if it has one."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ControlClient:
    """The control endpoints of one gateway."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/") + "/_control/"
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - http or https only
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                details = json.load(error)
            raise ControlError(details.get("error", ""), details.get("code", "")) from error

    def fault(self, **rule: Any) -> None:
        """Add one fault rule; see `faults.FaultRule` for its fields."""
        self._send("POST", "faults", rule)

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force with their counters."""
        return list(self._send("GET", "faults"))

    def clear_faults(self) -> None:
        """Remove all rules; frozen calls go on."""
        self._send("DELETE", "faults")

    def freeze(self) -> None:
        """Accept every call and answer none until `clear_faults`."""
        self.fault(freeze=True)

    def log(self, since: int = 0) -> list[dict[str, Any]]:
        """Calls served, oldest first, those with a number above `since`."""
        return list(self._send("GET", f"log?since={since}"))

    def clear_log(self) -> None:
        """Forget the calls served so far."""
        self._send("DELETE", "log")

    def names(self, since: int = 0) -> list[str]:
        """The names of the calls served: RPC names and HTTP methods."""
        return [str(entry["name"]) for entry in self.log(since)]

    def expire_tokens(self) -> None:
        """Expire every access token issued so far."""
        self._send("POST", "expire")

    def skew_clock(self, skew_s: float) -> None:
        """Set the gateway's clock wrong by so many seconds."""
        self._send("POST", "clock", {"skew_s": skew_s})

    def quirks(self, **values: float) -> None:
        """Switch habits; see `profiles.QUIRKS`."""
        self._send("POST", "quirks", values)

    def change(self, op: str, user: str, path: str = "", **details: Any) -> Any:
        """What another client does. Raises: ControlError when the gateway refuses it."""
        return self._send("POST", "change", {"op": op, "user": user, "path": path, **details})

    def write(self, path: str, data: bytes, user: str, **details: Any) -> None:
        """Upload a whole file as a user; the path is below the root folder, `/einstein/a.txt`."""
        self.change("write", user, path, base64=base64.b64encode(data).decode(), **details)

    def mkdir(self, path: str, user: str) -> None:
        """Create a folder as a user."""
        self.change("mkdir", user, path)

    def delete(self, path: str, user: str) -> None:
        """Delete a file or folder as a user."""
        self.change("delete", user, path)

    def rename(self, path: str, target: str, user: str) -> None:
        """Rename as a user."""
        self.change("rename", user, path, target=target)

    def share(self, path: str, user: str, receiver: str, role: str = "editor") -> str:
        """Share with another user; returns the share's id."""
        return str(self.change("share", user, path, receiver=receiver, role=role)["share"])

    def peers(self, **sites: Any) -> None:
        """Name other sites: `site=url`, or `site={"url": ..., "state": "ok" | "refused" | "frozen" | "dropped"}`."""
        self._send("POST", "peers", sites)

    def mesh_share(self, path: str, user: str, receiver: str, site: str, role: str = "editor", **details: Any) -> dict[str, str]:
        """Share with a user of another site, who has accepted an invitation (see `befriend`).

        Returns: `share`, the share's id here, and `received`, its id there.
        """
        return dict(self.change("mesh_share", user, path, receiver=receiver, site=site, role=role, **details))

    def invite(self, user: str) -> str:
        """An invitation of this user to a user of any other site."""
        return str(self.change("invite", user)["token"])

    def accept_invite(self, user: str, token: str, site: str) -> None:
        """Accept an invitation that came from another site."""
        self.change("accept_invite", user, token=token, site=site)

    def mesh_unshare(self, share: str, user: str) -> None:
        """Revoke an OCM share by its id here."""
        self.change("mesh_unshare", user, share=share)


def befriend(one: ControlClient, user: str, site: str, other: ControlClient, other_user: str) -> None:
    """Let `user` of `one`, whose name is `site`, invite `other_user` of `other`, so that each can share with the other."""
    other.accept_invite(other_user, one.invite(user), site)


class EmulatorProcess:
    """`python -m cs3fuse.emulator` as a child, as a context manager."""

    def __init__(self, profile: str, root: Path, *options: str, context: ssl.SSLContext | None = None) -> None:
        self.root = root
        self.grpc_port = 0
        self.http_port = 0
        self._command = [sys.executable, "-m", "cs3fuse.emulator", "--profile", profile, "--root", str(root), "--control", *options]
        self._context = context
        self._process: subprocess.Popen[bytes] | None = None
        self.control: ControlClient

    @property
    def pid(self) -> int:
        """Process id of the child."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Start the child and wait until it answers; `options` are added, so that a restart can keep its ports.

        Raises:
            RuntimeError: it ended instead.

        """
        self._process = subprocess.Popen([*self._command, *options], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The emulator ended with status {self._process.wait()} before it answered.")
        ready = json.loads(line)
        self.grpc_port, self.http_port = ready["grpc"], ready["http"]
        scheme = "https" if ready["tls"] else "http"
        self.control = ControlClient(f"{scheme}://{ready['host']}:{self.http_port}", self._context)

    def stop(self) -> None:
        """End the child as a person would (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the child as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            os.kill(process.pid, number)
        try:
            process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    def restart(self) -> None:
        """Start again on the same root and ports."""
        self.start("--grpc-port", str(self.grpc_port), "--http-port", str(self.http_port))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
