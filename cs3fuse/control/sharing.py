"""Answers about sharing: what was shared with us and what we share, accepting, declining, sharing, links, invitations.

Called by ``control.commands`` for each request, concurrently. Everything is asked of the server anew; nothing is shared by any other way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import structlog
import trio

from cs3fuse.client.sharing import GivenShare, OcmShare, Person, ReceivedShare, Role, ShareState, is_over
from cs3fuse.control.parts import Parts, number, text
from cs3fuse.control.server import Progress
from cs3fuse.errors import BadRequestError, Cs3FuseError, NotFoundError, NotPermittedError, UnsupportedError
from cs3fuse.mesh.given import domain, if_any, is_of, role_of
from cs3fuse.model import Entry, Location
from cs3fuse.vfs.refresh import known_node, refresh

log = structlog.get_logger(__name__)

_SETTLE_S = 5.0


class SharingAnswers:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sharing = parts.view.sharing

    # -- what there is -----------------------------------------------------------------------------------------------

    async def shares(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Everything received and given, each with its state. A kind that the server does not have is left out."""
        now_s = time.time()
        received = [await self._described(share, now_s) for share in await if_any(self._sharing.received)]
        received += [_described_ocm(self._parts, share, now_s) for share in await if_any(self._sharing.received_ocm)]
        given = [await self._described_given(share, now_s) for share in await self._parts.view.given.all()]
        return {"mount_point": str(self._parts.mount_point), "received": received, "given": given}

    async def _described(self, share: ReceivedShare, now_s: float) -> dict[str, Any]:
        name, kind = share.mount_name, ""
        try:
            entry, _path = await self._sharing.shared_entry(share.resource)
            name, kind = entry.name or name, entry.kind.value
        except NotFoundError:
            return _received_facts("user", share, name, "", "gone", now_s)
        except Cs3FuseError as error:
            log.info("share_not_described", share=share.id, reason=str(error))
        found = _received_facts("user", share, name, kind, "", now_s)
        found["path"] = path_of_share(self._parts, share.id)
        person = await self._sharing.user_with_id(share.owner)
        found["owner"] = person.username if person is not None and person.username else share.owner
        return found

    async def _described_given(self, share: GivenShare, now_s: float) -> dict[str, Any]:
        name = share.resource.opaque_id
        try:
            entry, path = await self._sharing.shared_entry(share.resource)
            name = path or entry.name or name
        except Cs3FuseError as error:
            log.info("share_not_described", share=share.id, reason=str(error))
        return {
            "name": name,
            "kind": share.kind,
            "id": share.id,
            "resource": share.resource.opaque_id,
            "with": share.receiver,
            "role": role_of(share.permissions).value,
            "until": share.expires_s,
            "is_over": is_over(share.expires_s, now_s),
            "has_password": share.has_password,
        }

    # -- accept and decline ------------------------------------------------------------------------------------------

    async def answer_share(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Accept (or with ``decline`` decline) the received share with this ``name`` or id.

        Raises: NotFoundError: there is none; BadRequestError: several have the name.
        """
        wanted = text(request, "name").strip("/")
        state = ShareState.REJECTED if request.get("decline") else ShareState.ACCEPTED
        told = await self.shares({}, _progress)
        found = [each for each in told["received"] if wanted == each["id"]]
        found = found or [
            each for each in told["received"] if wanted in {each["name"], each["path"], each["path"].partition("/")[2]}
        ]
        open_ones = [each for each in found if each["state"] != state.name.lower()]
        if len(open_ones or found) > 1:
            ids = ", ".join(f"{each['id']} of {each['owner']}" for each in open_ones or found)
            raise BadRequestError(f"Several shares are called {wanted}; name one by its id: {ids}.")
        if not found:
            raise NotFoundError(f"Nothing called {wanted} was shared with you; cs3fuse shares lists what was.")
        share = (open_ones or found)[0]
        answer = self._sharing.answer_ocm if share["kind"] == "mesh" else self._sharing.answer
        await answer(share["id"], state)
        await self._look_again("mesh" if share["kind"] == "mesh" else "shares")
        return {"id": share["id"], "name": share["name"], "path": path_of_share(self._parts, share["id"]), "owner": share["owner"]}

    async def _look_again(self, folder: str) -> None:
        """Have the folder show the change at once."""
        parts = self._parts
        mesh = parts.view.mesh
        if mesh is None or folder not in mesh.folders:
            return
        try:
            await mesh.folders[folder].refresh()
        except Cs3FuseError as error:
            log.info("folder_not_refreshed", folder=folder, reason=str(error))
        node, rest = known_node(parts.vfs.state.inodes, [folder])
        if not rest:
            refresh(parts.vfs.state, node)
        with trio.move_on_after(_SETTLE_S):
            await parts.kernel.settle()

    # -- share and unshare -------------------------------------------------------------------------------------------

    async def share(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Give ``with`` (USER, GROUP or USER@SITE) the ``role`` on ``path``, until unix seconds ``until`` (0: for ever).

        Raises: NotFoundError: nobody is called so; ExistsError; AccessDeniedError.
        """
        at, _entry = await self._own(text(request, "path"))
        who, role = text(request, "with"), Role(text(request, "role"))
        until = number(request, "until", 0) or None
        self._parts.view.given.forget()
        person = await self._sharing.user_named(who)
        if person is not None:
            share_id = await self._sharing.share(at, person, role, until)
            return {"id": share_id, "with": person.username, "kind": "user"}
        if "@" in who:
            person = await self._known_person(who)
            return {"id": await self._sharing.share_ocm(at, person, role, until), "with": who, "kind": "mesh"}
        group = await self._sharing.group_named(who)
        if group is not None:
            return {"id": await self._sharing.share_with_group(at, group, role, until), "with": group.name, "kind": "group"}
        raise NotFoundError(f"This site knows no user and no group called {who}; somebody of another site is USER@SITE.")

    async def _known_person(self, who: str) -> Person:
        name, _, site = who.rpartition("@")
        try:
            people = await self._sharing.known_people()
        except UnsupportedError as error:
            raise UnsupportedError("This server does not share with other sites.") from error
        for person in people:
            if name in {person.opaque_id, person.username} and site == domain(person.site):
                return person
        known = ", ".join(f"{person.username}@{domain(person.site)}" for person in people) or "nobody yet"
        raise NotFoundError(
            f"{who} is not known here (known: {known}). Send an invitation (cs3fuse invite) that they accept, or accept theirs."
        )

    async def unshare(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Take back what is shared of ``path``: from ``with`` (a user, group, USER@SITE or a link's token), else from everybody.

        Raises: NotFoundError: it is not shared with them.
        """
        at, entry = await self._own(text(request, "path"))
        who = text(request, "with")
        shares = [share for share in await self._parts.view.given.all() if is_of(share, entry)]
        if who:
            person = await self._sharing.user_named(who)
            wanted = {who, person.opaque_id if person is not None else who}
            shares = [share for share in shares if wanted & {share.receiver, share.id} or _same_person(share, who)]
        if not shares:
            raise NotFoundError(f"{self._parts.shown(at)} is not shared{f' with {who}' if who else ''}.")
        for share in shares:
            if share.kind == "link":
                await self._sharing.remove_link(share.id)
            elif share.kind == "mesh":
                await self._sharing.unshare_ocm(share.id)
            else:
                await self._sharing.unshare(share.id)
        self._parts.view.given.forget()
        return {"taken_from": [share.receiver for share in shares]}

    async def link(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Make a public link to ``path`` with a ``password``, ``role`` and ``until``. Raises: BadRequestError: a password is needed."""
        at, _entry = await self._own(text(request, "path"))
        token = await self._sharing.create_link(
            at, Role(text(request, "role") or "viewer"), text(request, "password"), number(request, "until", 0) or None
        )
        return {"token": token}

    async def _own(self, path: str) -> tuple[Location, Entry]:
        """A path as something that may be shared. Raises: NotPermittedError: the root of a mount or of a share."""
        at = await self._parts.locate(path)
        entry = await self._parts.metadata.stat(at, fresh=True)
        if entry.anchor is not None or not at.rel:
            raise NotPermittedError(f"{self._parts.shown(at)} is the root of a share, a space or the home; share what is in it.")
        return at, entry

    # -- invitations -------------------------------------------------------------------------------------------------

    async def invite(self, _request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """An invitation for somebody of another site, as ``TOKEN@SITE``. Raises: UnsupportedError."""
        invitation = await self._sharing.invite(f"cs3fuse, {self._parts.identity.username}")
        return {"invitation": f"{invitation.token}@{domain(self._parts.identity.idp)}", "until": invitation.expires_s}

    async def accept_invitation(self, request: Mapping[str, Any], _progress: Progress) -> dict[str, Any]:
        """Accept an ``invitation`` (``TOKEN@SITE``). Raises: BadRequestError; NotFoundError."""
        token, at, site = text(request, "invitation").rpartition("@")
        if not at or not token or not site:
            raise BadRequestError("An invitation looks like TOKEN@SITE.")
        return {"who": await self._sharing.accept_invitation(token, site)}


def path_of_share(parts: Parts, share_id: str) -> str:
    """Where a received share is below the mount point, "" if it is not shown."""
    mesh = parts.view.mesh
    for folder in mesh.folders.values() if mesh is not None else ():
        for name, member in folder.members():
            if share_id in member.share_ids:
                return f"{folder.name}/{name}"
    return ""


def _received_facts(kind: str, share: ReceivedShare | OcmShare, name: str, what: str, state: str, now_s: float) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": share.id,
        "name": name,
        "what": what,
        "path": "",
        "owner": share.owner,
        "state": state or ("over" if is_over(share.expires_s, now_s) else share.state.name.lower()),
        "role": role_of(share.permissions).value,
        "until": share.expires_s,
    }


def _described_ocm(parts: Parts, share: OcmShare, now_s: float) -> dict[str, Any]:
    found = _received_facts("mesh", share, share.name, share.kind.value, "", now_s)
    found["owner"] = f"{share.owner}@{domain(share.site)}"
    found["path"] = path_of_share(parts, share.id)
    return found


def _same_person(share: GivenShare, who: str) -> bool:
    """Whether ``who`` (USER@SITE) is the receiver of a share of the mesh."""
    user, _, site = share.receiver.rpartition("@")
    return share.kind == "mesh" and who == f"{user}@{domain(site)}"
