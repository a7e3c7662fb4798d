"""A site that is broken or means harm: WebDAV as no real site answers, and shares that lead there.

Used by `deceived`. The server runs in threads of its own until the context is left.
"""

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_HOSTILE = ("plain", "a%2Fb", "%2e%2e", "%2e%2e%2F%2e%2e%2Fetc%2Fpasswd", "%00nul", "line%0Afeed", ".")
_LISTED, _LARGE = 1000, 8 << 20
_CUT, _LARGE_CUT = 400, 3 << 20


def _entry(href: str, size: int | None) -> str:
    """One response of a PROPFIND answer; a folder if it has no size."""
    kind = "<d:collection/>" if size is None else ""
    length = "" if size is None else f"<d:getcontentlength>{size}</d:getcontentlength>"
    return (
        f"<d:response><d:href>{href}</d:href><d:propstat><d:prop><d:displayname>n</d:displayname>"
        f'<d:resourcetype>{kind}</d:resourcetype>{length}<d:getetag>"e1"</d:getetag>'
        "<d:getlastmodified>Mon, 02 Jan 2023 03:04:05 GMT</d:getlastmodified></d:prop>"
        "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
    )


class Impostor:
    """The server.

    `mode` is a status to answer everything with, or one of ok, truncate, truncate8 (bodies that end early), longer, shorter (than
    listed); `wait` is waited for before a PROPFIND is answered; `asked` are the paths so far.
    """

    def __init__(self) -> None:
        self.mode = "ok"
        self.wait: threading.Event | None = None
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Where its shares are."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/dav"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        impostor = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                impostor.asked.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, body, cut = impostor.reply(self.command, self.path, self.headers.get("Depth"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:cut])

            do_GET = do_PUT = do_PROPFIND = do_MKCOL = do_DELETE = answer  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Say nothing."""

        return Handler

    def reply(self, method: str, path: str, depth: str | None) -> tuple[int, bytes, int | None]:
        """Status, announced body, and after how many bytes it breaks off [bytes]."""
        if self.mode.isdigit():
            return int(self.mode), b"", None
        size = _LARGE if self.mode == "truncate8" else _LISTED
        if method == "PROPFIND":
            if self.wait is not None:
                self.wait.wait(10)
            is_root = path.rstrip("/").endswith("/dav")
            responses = [_entry(path, None if is_root else size)]
            if depth == "1":
                responses += [_entry(f"/dav/{href}", _LISTED) for href in _HOSTILE]
                responses += [_entry("/dav/dir/", None), _entry("/dav/neg", -5), _entry("/dav/huge", 1 << 62)]
            return 207, f"<?xml version='1.0'?><d:multistatus xmlns:d='DAV:'>{''.join(responses)}</d:multistatus>".encode(), None
        if method == "GET":
            length = {"longer": 2 * _LISTED, "shorter": _LISTED // 2}.get(self.mode, size)
            cut = {"truncate": _CUT, "truncate8": _LARGE_CUT}.get(self.mode)
            return 200, b"z" * length, cut
        return 500, b"", None


def plant(site_url: str, share_id: str, name: str, receiver: str, owner: str, uri: str) -> int:
    """Offer a share to a user, as the owner's site would; the answer's status."""
    values = {
        "shareWith": receiver,
        "name": name,
        "providerId": share_id,
        "owner": owner,
        "sender": owner,
        "senderDisplayName": "x",
        "shareType": "user",
        "resourceType": "folder",
        "protocol": {
            "name": "multi",
            "options": {},
            "webdav": {"sharedSecret": "s", "permissions": ["read", "write"], "uri": uri},
        },
    }
    request = urllib.request.Request(f"{site_url}/ocm/shares", json.dumps(values).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return int(answer.status)
