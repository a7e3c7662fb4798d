"""Profile `opencloud`: uploads with conditions, post-processing, downloads with ranges.

Owns the upload records and what a PUT or GET does. Runs on the server's loop; the checksums of large files are
computed in a thread before the synchronous step that checks the conditions again and puts the file into place.

Source: answers recorded of OpenCloud, among them its races: conditions are checked at the initiation and at the PUT.
"""

import contextlib
import os
import re
import time
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

from cs3fuse.emulator import mime, proto
from cs3fuse.emulator.append import AppendFile
from cs3fuse.emulator.checksums import RollingChecksums, compute_checksums
from cs3fuse.emulator.failures import HttpRefusal, Refusal
from cs3fuse.emulator.opencloud_files import OpenCloudFiles, parse_mtime
from cs3fuse.emulator.opencloud_refs import STORAGE_ID, Spot
from cs3fuse.emulator.profiles import Call, DataCall, Download, HttpAnswer, UploadSink
from cs3fuse.emulator.proto import gateway_pb, storage_pb
from cs3fuse.emulator.ranges import RangePolicy
from cs3fuse.emulator.spaces import Space
from cs3fuse.emulator.tree import Node

_CHUNK_NAME = re.compile(r"-chunking-\w+-\d+-\d+$")
_CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
_INLINE_BYTES = 1 << 20


class OpenCloudData(OpenCloudFiles):
    """Transfers."""

    # -- initiation

    def initiate_file_download(self, call: Call, request: Any) -> Any:
        """InitiateFileDownload: checks nothing; a bare id gives a `simple` URL whose GET is 500."""
        spot = self.locate("stat", request)
        if request.ref.HasField("resource_id"):
            rid = request.ref.resource_id
            where, relative = f"{STORAGE_ID}${rid.space_id}!{rid.opaque_id or rid.space_id}", request.ref.path
        else:
            where, relative = f"{STORAGE_ID}${spot.space.id}!{spot.space.id}", f"./{spot.relative}"
        protocol = "spaces" if relative else "simple"
        tail = f"{protocol}/{urllib.parse.quote(where, safe='$')}/{urllib.parse.quote(relative.removeprefix('.').lstrip('/'))}"
        response = gateway_pb.InitiateFileDownloadResponse()
        self._add(response, protocol, tail, "download_endpoint")
        return response

    def _add(self, response: Any, protocol: str, tail: str, field: str) -> None:
        target = f"{self.services.base_url}/data/{tail}"
        if self.config.expose:
            response.protocols.add(protocol=protocol, **{field: target})
            return
        endpoint = {field: f"{self.services.base_url}{self.data_path}"}
        response.protocols.add(protocol=protocol, token=self.tokens.transfer_token(target), **endpoint)

    def initiate_file_upload(self, call: Call, request: Any) -> Any:
        """InitiateFileUpload: honours if_match, if_not_exist, if_unmodified_since, lock_id and Upload-Checksum.

        A length of 0, or none, creates or empties the file at once.
        """
        spot = self.locate("stat", request)
        length = self._length(request)
        self._may_upload(call, spot)
        self._check_upload_lock(spot.node, request.lock_id)
        self._check_conditions(spot.node, request)
        total, _, remaining = self.quota(spot.space)
        if total and length > remaining:
            raise Refusal(proto.INSUFFICIENT_STORAGE, "insufficient storage")
        node, folder = spot.node, spot.folder
        assert folder is not None
        record = {
            "space": spot.space.id,
            "node": node.id if node is not None else "",
            "folder": folder.id,
            "name": spot.name,
            "length": length,
            "etag": request.if_match,
            "mtime": parse_mtime(proto.opaque_value(request.opaque, "X-OC-Mtime") or ""),
            "checksum": self._checksum(proto.opaque_value(request.opaque, "Upload-Checksum")),
            "lock": request.lock_id,
            "done": False,
        }
        if not length and folder.is_folder:
            self._empty_at_once(node, folder, record)
        upload_id = str(uuid.uuid4())
        self.put_upload(upload_id, record)
        response = gateway_pb.InitiateFileUploadResponse()
        for protocol in self.shuffled(["simple", "tus"]):
            self._add(response, protocol, f"{protocol}/{upload_id}", "upload_endpoint")
        return response

    @staticmethod
    def _length(request: Any) -> int:
        text = proto.opaque_value(request.opaque, "Upload-Length") or "0"
        if not text.isdecimal():
            raise Refusal(proto.INTERNAL, "error parsing upload length")
        return int(text)

    def _may_upload(self, call: Call, spot: Spot) -> None:
        node, folder = spot.node, spot.folder
        judged = node if node is not None else folder
        if judged is not None and "initiate_file_upload" not in self.spaces.permissions(call.user, judged):
            raise Refusal(proto.PERMISSION_DENIED, "permission denied")
        if folder is None or (node is not None and node.is_folder):
            raise Refusal(proto.FAILED_PRECONDITION, "failed precondition")

    def _check_upload_lock(self, node: Node | None, lock_id: str) -> None:
        if node is None:
            return
        try:
            self.check_lock("", node, lock_id)
        except Refusal as refusal:
            if refusal.code == proto.LOCKED:
                raise Refusal(proto.LOCKED, "locked") from None
            raise Refusal(proto.INTERNAL, f"error getting upload id{refusal.message}") from None

    def _check_conditions(self, node: Node | None, request: Any) -> None:
        if request.if_match and (node is None or request.if_match != self.etag(node)):
            raise Refusal(proto.FAILED_PRECONDITION, "etag mismatch")
        if request.if_not_exist and node is not None:
            raise Refusal(proto.ALREADY_EXISTS, "already exists")
        if request.HasField("if_unmodified_since") and node is not None:
            limit = request.if_unmodified_since
            if node.mtime_ns > limit.seconds * 1_000_000_000 + limit.nanos:
                raise Refusal(proto.FAILED_PRECONDITION, "resource has been modified")

    def _checksum(self, text: str | None) -> list[str] | None:
        if text is None:
            return None
        name, blank, value = text.partition(" ")
        if not blank or not value or " " in value:
            message = "error: bad request: invalid checksum format. must be '[algorithm] [checksum]'"
            raise Refusal(proto.INVALID_ARGUMENT, message)
        if name not in self.checksum_names:
            raise Refusal(proto.INVALID_ARGUMENT, f"error: bad request: unsupported checksum algorithm: {name}")
        return [name, value]

    def _empty_at_once(self, node: Node | None, folder: Node, record: dict[str, Any]) -> None:
        if node is not None:
            self.history.keep(node, self.etag(node))
        try:
            node = self.tree.place(folder, record["name"], None, mtime_ns=record["mtime"])
        except (OSError, ValueError) as error:
            raise Refusal(proto.INTERNAL, f"error getting upload id: {error}") from error
        node.checksums = None
        self.checksums(node)
        record["done"] = True

    # -- uploads

    def describe_data(self, base: str, protocol: str, tail: str) -> str:
        """The path an upload or a download is about."""
        record = self.uploads.get(tail)
        if record is not None:
            folder, space = self.tree.nodes.get(record["folder"]), self.spaces.get(record["space"])
            if folder is not None and space is not None:
                return f"/{space.folder}{self.tree.path(folder)}".rstrip("/") + f"/{record['name']}"
        if protocol == "spaces":
            with contextlib.suppress(Refusal, IndexError):
                return self.describe_reference(self._data_reference(tail))
        return f"/{tail}"

    @staticmethod
    def _data_reference(tail: str) -> Any:
        where, _, relative = tail.partition("/")
        storage_id, _, rest = where.partition("$")
        space_id, _, opaque_id = rest.partition("!")
        rid = storage_pb.ResourceId(storage_id=storage_id, space_id=space_id, opaque_id=opaque_id)
        return storage_pb.Reference(resource_id=rid, path=f"./{relative}")

    def upload(self, call: DataCall) -> UploadSink:
        """A PUT: refused when empty, and when the upload id is used up."""
        record = self.uploads.get(call.tail)
        if call.length == 0:
            raise HttpRefusal(400)
        if record is None or record["done"]:
            raise HttpRefusal(500)
        return OpenCloudSink(self, call.tail, record, chunked=call.length is None)

    def finish_upload(self, upload_id: str, record: dict[str, Any], sums: dict[str, str]) -> HttpAnswer:
        """Check everything again and put the staged bytes into place. Raises: HttpRefusal."""
        wanted = record["checksum"]
        if wanted is not None and sums[wanted[0]] != wanted[1]:
            self.drop_upload(upload_id)
            raise HttpRefusal(419)
        folder, node = self._target(record)
        if node is not None:
            self.history.keep(node, self.etag(node))
        try:
            name = node.name if node is not None else record["name"]
            placed = self.tree.place(folder, name, str(self.staged(upload_id)), record["length"], record["mtime"])
        except (OSError, ValueError) as error:
            raise HttpRefusal(500) from error
        placed.checksums = sums
        placed.processing_until = time.monotonic() + self.quirks["processing_s"] if self.quirks["processing_s"] else 0.0
        self.tree.mark(placed)
        self.tree.flush()
        self.drop_upload(upload_id)
        space = self.spaces.of(placed)
        assert space is not None
        return HttpAnswer(200, self._version_headers(placed, space))

    def _target(self, record: dict[str, Any]) -> tuple[Node, Node | None]:
        """The folder and the node an upload goes to now. Raises: HttpRefusal."""
        if record["node"]:
            node = self.tree.nodes.get(record["node"])
            if node is None or node.parent is None or self.spaces.of(node) is None:
                raise HttpRefusal(500)
            lock = self.lock_of(node)
            if lock is not None and lock["lock_id"] != record["lock"]:
                raise HttpRefusal(500)
            if (record["lock"] and lock is None) or (record["etag"] and record["etag"] != self.etag(node)):
                raise HttpRefusal(412)
            return node.parent, node
        folder = self.tree.nodes.get(record["folder"])
        if folder is None or not folder.is_folder or self.spaces.of(folder) is None:
            raise HttpRefusal(500)
        if self.tree.child(folder, record["name"]) is not None:
            # Somebody else took the name meanwhile: a creation never overwrites.
            raise HttpRefusal(412)
        return folder, None

    def _version_headers(self, node: Node, space: Space) -> dict[str, str]:
        etag = self.etag(node)
        modified = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(node.mtime_ns // 1_000_000_000))
        return {"Etag": etag, "Oc-Etag": etag, "Oc-Fileid": f"{STORAGE_ID}${space.id}!{node.id}", "Last-Modified": modified}

    # -- downloads

    def download(self, call: DataCall) -> Download:
        """A GET or HEAD: the reference in the URL is resolved now, with the permissions of now."""
        if call.protocol != "spaces":
            raise HttpRefusal(500)
        try:
            spot = self.resolve("stat", self._data_reference(call.tail))
        except Refusal as refusal:
            raise HttpRefusal(404 if refusal.code == proto.NOT_FOUND else 500) from refusal
        node = spot.node
        if node is None or "initiate_file_download" not in self.spaces.permissions(call.access.user, node):
            raise HttpRefusal(404)
        if node.is_folder:
            raise HttpRefusal(0)
        if spot.version is None and (self.is_processing(node) or _CONTROL.search(node.name)):
            raise HttpRefusal(500)
        version = spot.version
        path = self.history.file(version) if version is not None else Path(self.tree.disk(node))
        size = version.size if version is not None else node.size
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            raise HttpRefusal(404) from error
        if os.fstat(file.fileno()).st_size < size:
            # Announced more at the upload than was sent: every GET dies without an answer.
            file.close()
            raise HttpRefusal(0)
        headers = self._version_headers(node, spot.space)
        sums = version.checksums if version is not None else (self.checksums(node) if node.size else node.checksums)
        if version is not None:
            headers["Etag"] = headers["Oc-Etag"] = version.etag
        if sums:
            headers["Oc-Checksum"] = f"SHA1:{sums['sha1']}"
        shown = node.name.replace("\r", " ").replace("\n", " ")
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{urllib.parse.quote(node.name)}; filename=\"{shown}\""
        if call.method == "GET":
            headers["Accept-Ranges"] = "bytes"
        kind = f"{mime.of_name(node.name)}; charset=UTF-8"
        return Download(file, size, kind, RangePolicy.CUT, headers, etag=headers["Etag"])


class OpenCloudSink(AppendFile):
    """The body of a PUT: appended to the session's file, whatever that holds already."""

    def __init__(self, profile: OpenCloudData, upload_id: str, record: dict[str, Any], *, chunked: bool) -> None:
        super().__init__(profile.staged(upload_id))
        self._profile = profile
        self._upload_id = upload_id
        self._record = record
        self._chunked = chunked
        required = record["checksum"][0] if record["checksum"] else ""
        self._sums = RollingChecksums(self.path, profile.checksum_names, record["length"], required)
        self._is_large = record["length"] > _INLINE_BYTES

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises: OSError."""
        super().write(data)
        if self._is_large:
            self._sums.feed()

    async def finish(self) -> HttpAnswer:
        """Carry the upload out, after cutting the bytes to the announced length."""
        self.close()
        if self._chunked or _CHUNK_NAME.search(self._record["name"]):
            self._sums.stop()
            return HttpAnswer(206)
        if self.path.stat().st_size > self._record["length"]:
            os.truncate(self.path, self._record["length"])
        sums = await self._sums.result() if self._is_large else compute_checksums(self.path, self._profile.checksum_names)
        return self._profile.finish_upload(self._upload_id, self._record, sums)

    async def broken(self) -> None:
        """The old content stays, the bytes so far too: the next PUT with this token appends to them."""
        self.abandon()

    def abandon(self) -> None:
        """As for a broken connection."""
        self._sums.stop()
        self.close()
