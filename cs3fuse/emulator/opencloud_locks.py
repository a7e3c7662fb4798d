"""Profile `opencloud`: locks, which this server enforces.

Owns the five lock RPCs and the check that other calls make. A lock lives in its node. Runs on the server's loop only.

Source: answers recorded of OpenCloud; a lock is held by whoever knows its id, and by a user only if it names one.
"""

from typing import Any

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.opencloud_refs import OpenCloudReferences
from cs3fuse.emulator.profiles import Call
from cs3fuse.emulator.proto import provider_pb, storage_pb
from cs3fuse.emulator.tree import Node


class OpenCloudLocks(OpenCloudReferences):
    """Lock RPCs."""

    def lock_of(self, node: Node) -> dict[str, Any] | None:
        """The lock in force; an expired one does not count."""
        lock = node.lock
        if lock is None:
            return None
        expiration = lock.get("expiration")
        if expiration and expiration["seconds"] + expiration.get("nanos", 0) / 1e9 <= self.clock.now_s():
            return None
        return lock

    def lock_message(self, lock: dict[str, Any]) -> Any:
        """The Lock message, with the user only if the lock names one."""
        message = storage_pb.Lock(lock_id=lock["lock_id"], type=lock["type"], app_name=lock.get("app_name", ""))
        if lock.get("expiration"):
            message.expiration.seconds = lock["expiration"]["seconds"]
            message.expiration.nanos = lock["expiration"].get("nanos", 0)
        if lock.get("user"):
            message.user.idp, message.user.opaque_id = lock["user"]["idp"], lock["user"]["opaque_id"]
            message.user.type = lock["user"]["type"]
        return message

    @staticmethod
    def _record(lock: Any) -> dict[str, Any]:
        record: dict[str, Any] = {"lock_id": lock.lock_id, "type": int(lock.type), "app_name": lock.app_name}
        if lock.HasField("expiration"):
            record["expiration"] = {"seconds": int(lock.expiration.seconds)}
            if lock.expiration.nanos:
                record["expiration"]["nanos"] = int(lock.expiration.nanos)
        if lock.HasField("user"):
            record["user"] = {"idp": lock.user.idp, "opaque_id": lock.user.opaque_id, "type": int(lock.user.type)}
        return record

    def check_lock(self, verb: str, node: Node, lock_id: str) -> None:
        """Refuse a change of a locked file that does not carry the lock's id. Raises: Refusal."""
        lock = self.lock_of(node)
        if lock is None:
            if lock_id:
                raise Refusal(proto.ABORTED, f"{verb}: error: aborted: not locked")
            return
        if not lock_id:
            raise Refusal(proto.LOCKED, f"{verb}: error: locked by {lock['lock_id']}")
        if lock_id != lock["lock_id"]:
            raise Refusal(proto.ABORTED, f"{verb}: error: aborted: mismatching lock")

    def set_lock(self, call: Call, request: Any) -> Any:
        """SetLock: any type, on files and folders; one lock at a time, also for its holder and for shared locks."""
        node = self.need("set lock", call, self.locate("set lock", request), "initiate_file_upload")
        if self.lock_of(node) is not None:
            raise Refusal(proto.FAILED_PRECONDITION, "set lock: error: precondition failed: already locked")
        self._store(node, self._record(request.lock))
        return provider_pb.SetLockResponse()

    def get_lock(self, call: Call, request: Any) -> Any:
        """GetLock."""
        node = self.need("get lock", call, self.locate("get lock", request), "stat")
        lock = self.lock_of(node)
        if lock is None:
            raise Refusal(proto.NOT_FOUND, "get lock: error: not found: no lock found")
        return provider_pb.GetLockResponse(lock=self.lock_message(lock))

    def refresh_lock(self, call: Call, request: Any) -> Any:
        """RefreshLock: same id, and the same user and application as in the lock."""
        node = self.need("refresh lock", call, self.locate("refresh lock", request), "initiate_file_upload")
        lock = self.lock_of(node)
        if lock is None:
            raise Refusal(proto.FAILED_PRECONDITION, "refresh lock: error: precondition failed: lock does not exist")
        if lock["lock_id"] not in {request.lock.lock_id, request.existing_lock_id}:
            raise Refusal(proto.ABORTED, "refresh lock: error: aborted: mismatching lock ID")
        self._check_holder("refresh lock", call, lock, request.lock)
        self._store(node, self._record(request.lock))
        return provider_pb.RefreshLockResponse()

    def unlock(self, call: Call, request: Any) -> Any:
        """Unlock: same id, and the same user and application as in the lock."""
        node = self.need("unlock", call, self.locate("unlock", request), "initiate_file_upload")
        lock = self.lock_of(node)
        if lock is None:
            raise Refusal(proto.ABORTED, "unlock: error: aborted: lock does not exist")
        if request.lock.lock_id != lock["lock_id"]:
            raise Refusal(proto.LOCKED, f"unlock: error: locked by {lock['lock_id']}")
        self._check_holder("unlock", call, lock, request.lock)
        self._store(node, None)
        return provider_pb.UnlockResponse()

    @staticmethod
    def _check_holder(verb: str, call: Call, lock: dict[str, Any], given: Any) -> None:
        holder = lock.get("user")
        given_user = given.user.opaque_id if given.HasField("user") else ""
        if (holder["opaque_id"] if holder else "") != given_user:
            raise Refusal(proto.PERMISSION_DENIED, f"{verb}: error: permission denied: users of the locks are mismatching")
        if lock.get("app_name", "") != given.app_name:
            raise Refusal(proto.PERMISSION_DENIED, f"{verb}: error: permission denied: app names of the locks are mismatching")
        if holder and holder["opaque_id"] != call.user.opaque_id:
            text = f"{verb}: error: permission denied: lock holder and current user are mismatching"
            raise Refusal(proto.PERMISSION_DENIED, text)

    def _store(self, node: Node, lock: dict[str, Any] | None) -> None:
        node.lock = lock
        self.tree.mark(node)
        self.tree.flush()
