"""Groups: who is in them, and the look-ups. Their names stand with the users.

Mixed into the profiles `reva` and `eos`; runs on the server's loop only.

Source: reva internal/grpc/services/groupprovider, pkg/group/manager/json. Not measured.
"""

from typing import Any

from cs3.identity.group.v1beta1 import group_api_pb2 as group_api_pb
from cs3.identity.group.v1beta1 import resources_pb2 as group_pb

from cs3fuse.emulator import proto
from cs3fuse.emulator.failures import Refusal
from cs3fuse.emulator.profiles import Call, Profile


class GroupHandlers(Profile):
    """The group RPCs."""

    def _group_names(self) -> list[str]:
        return sorted({name for user in self.directory for name in user.groups})

    def _group(self, name: str, *, members: bool = True) -> Any:
        if name not in self._group_names():
            raise Refusal(proto.NOT_FOUND, "group not found")
        group = group_pb.Group(group_name=name, display_name=name, mail=f"{name}@example.org")
        group.id.idp, group.id.opaque_id, group.id.type = self.directory.idp, name, group_pb.GROUP_TYPE_REGULAR
        if members:
            group.members.extend(user.identifier() for user in self.directory if name in user.groups)
        return group

    def get_group(self, call: Call, request: Any) -> Any:
        """GetGroup by id."""
        group = self._group(request.group_id.opaque_id, members=not request.skip_fetching_members)
        return group_api_pb.GetGroupResponse(group=group)

    def get_group_by_claim(self, call: Call, request: Any) -> Any:
        """GetGroupByClaim: group_name or display_name."""
        if request.claim not in {"group_name", "display_name"}:
            raise Refusal(proto.NOT_FOUND, "group not found")
        return group_api_pb.GetGroupByClaimResponse(group=self._group(request.value, members=not request.skip_fetching_members))

    def find_groups(self, call: Call, request: Any) -> Any:
        """FindGroups: by the text of the first query filter, or all."""
        text = next((item.query for item in request.filters if item.HasField("query")), "").lower()
        members = not request.skip_fetching_members
        found = [self._group(name, members=members) for name in self._group_names() if text in name.lower()]
        return group_api_pb.FindGroupsResponse(groups=found)

    def get_members(self, call: Call, request: Any) -> Any:
        """GetMembers."""
        return group_api_pb.GetMembersResponse(members=self._group(request.group_id.opaque_id).members)

    def has_member(self, call: Call, request: Any) -> Any:
        """HasMember."""
        members = self._group(request.group_id.opaque_id).members
        return group_api_pb.HasMemberResponse(ok=any(user.opaque_id == request.user_id.opaque_id for user in members))
