"""Profile `eos`: locks by application name.

Owns the five lock RPCs and the check of a PUT. A lock lives in its node. Runs on the server's loop only.

Source: reva pkg/storage/fs/eos/locks.go; "same holder" means the same app_name, or the same user when neither lock
has one.
"""

from typing import Any

import grpc

from cs3fuse.emulator import proto
from cs3fuse.emulator.eos_refs import EosReferences
from cs3fuse.emulator.failures import GrpcAbort, Refusal
from cs3fuse.emulator.profiles import Call
from cs3fuse.emulator.proto import provider_pb, storage_pb
from cs3fuse.emulator.tree import Node

_SHARED = 1


class EosLocks(EosReferences):
    """Lock RPCs."""

    def lock_of(self, node: Node) -> dict[str, Any] | None:
        """The lock in force; an expired one does not count."""
        lock = node.lock
        if lock is None or 0 < lock["expires_s"] <= self.clock.now_s():
            return None
        return lock

    def lock_message(self, lock: dict[str, Any]) -> Any:
        """The Lock message."""
        message = storage_pb.Lock(lock_id=lock["lock_id"], type=lock["type"], app_name=lock["app_name"])
        message.expiration.seconds = int(lock["expires_s"])
        message.creation_time.seconds = int(lock["created_s"])
        if lock["user"]:
            user = self.directory.identified(lock["user"])
            if user is not None:
                message.user.CopyFrom(user.identifier())
        return message

    def _record(self, lock: Any, created_s: float) -> dict[str, Any]:
        return {
            "lock_id": lock.lock_id,
            "type": int(lock.type),
            "app_name": lock.app_name,
            "user": lock.user.opaque_id if lock.HasField("user") else "",
            "expires_s": proto.timestamp_s(lock.expiration) if lock.HasField("expiration") else 0.0,
            "created_s": created_s,
        }

    @staticmethod
    def _same_holder(held: dict[str, Any], given: Any) -> bool:
        if held["app_name"] or given.app_name:
            return bool(held["app_name"] == given.app_name)
        return bool(held["user"] == given.user.opaque_id)

    def refuse_locked(self, node: Node, internal: str) -> None:
        """Refuse a change of a locked file that carries no application name. Raises: Refusal INTERNAL."""
        if self.lock_of(node) is not None:
            raise Refusal(proto.INTERNAL, internal)

    def set_lock(self, call: Call, request: Any) -> Any:
        """SetLock: exclusive or write; also the holder is refused a second time."""
        internal, spot = f"error setting lock: {proto.go_text(request.ref)}", self.place(request)
        node = spot.node
        if node is None or node.is_folder or request.lock.type == _SHARED:
            raise Refusal(proto.INTERNAL, internal)
        self.allowed(call, node, "initiate_file_upload")
        if self.lock_of(node) is not None:
            raise Refusal(proto.FAILED_PRECONDITION, "reference already locked")
        self._store(node, self._record(request.lock, self.clock.now_s()))
        return provider_pb.SetLockResponse()

    def get_lock(self, call: Call, request: Any) -> Any:
        """GetLock: a lock without expiration makes the server stumble."""
        node = self.need(call, self.place(request), "stat", "reference or lock not found")
        lock = self.lock_of(node)
        if lock is None:
            raise Refusal(proto.NOT_FOUND, "reference or lock not found")
        if not lock["expires_s"]:
            raise GrpcAbort(grpc.StatusCode.INTERNAL, "runtime error: invalid memory address or nil pointer dereference")
        return provider_pb.GetLockResponse(lock=self.lock_message(lock))

    def refresh_lock(self, call: Call, request: Any) -> Any:
        """RefreshLock: by the same holder; the time of creation is kept."""
        node = self.need(call, self.place(request), "initiate_file_upload", "path not found when refreshing lock")
        lock, wanted = self.lock_of(node), request.existing_lock_id
        if lock is None or not self._same_holder(lock, request.lock) or (wanted and wanted != lock["lock_id"]):
            raise Refusal(proto.FAILED_PRECONDITION, "reference not locked or caller does not hold the lock")
        self._store(node, self._record(request.lock, lock["created_s"]))
        return provider_pb.RefreshLockResponse()

    def unlock(self, call: Call, request: Any) -> Any:
        """Unlock: needs id and application name."""
        node = self.need(call, self.place(request), "initiate_file_upload", "path not found when unlocking")
        lock = self.lock_of(node)
        if lock is None or lock["lock_id"] != request.lock.lock_id or not self._same_holder(lock, request.lock):
            raise Refusal(proto.FAILED_PRECONDITION, "reference not locked")
        self._store(node, None)
        return provider_pb.UnlockResponse()

    def _store(self, node: Node, lock: dict[str, Any] | None) -> None:
        node.lock = lock
        self.tree.mark(node)
        self.tree.flush()
