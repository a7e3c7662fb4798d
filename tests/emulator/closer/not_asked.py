"""Which recorded facts of the closer look are not asked of the emulator, and why.

`test_closer_look` fails for a recorded fact that is neither asked nor here, and for one that is both. Patterns are those of
`fnmatch`, but for brackets, which stand for themselves.
"""

import fnmatch

_JAIL = (
    "The profile has no jail to address content through: shares are reached by resource id and relative path, which is what"
    " the records advise; the lists of shares and mount points are asked."
)
_GRAPH = "Asked of another API of the recorded server, which CS3 does not see."
_SPEED = "How fast the server was; no answer of its own."
_CHANCE = "Counts how often a moment of milliseconds was met; what holds in that moment is asked with a long one (processing)."
_PATH_LENGTH = "Below `deep_path`, which the emulator cannot reach."

NOT_ASKED: dict[str, str] = {
    # 1 users
    "env": "Says how the server was built and started.",
    "graph_*": _GRAPH,
    # 2 project spaces
    "peditor_delete_existing": "Was skipped on the recorded server.",
    # 3 shares
    "*|jail_*": _JAIL,
    "*|bare_jail_id": _JAIL,
    "*|path_home_shares": _JAIL,
    "download_view:jail_*": _JAIL,
    "download_view:path_home_shares": _JAIL,
    "*_jail:*": _JAIL,
    "listrecycle:jail": _JAIL,
    "download_single_jail": _JAIL,
    "download_single_bare_jail": _JAIL,
    "getpath_jail_as_alan": _JAIL,
    "viewer_jail_*": _JAIL,
    "viewer_path_*": _JAIL,
    "viewer_single_upload_over_jail": _JAIL,
    "editor_jail_*": _JAIL,
    "editor_jailroot_*": _JAIL,
    "editor_path_*": _JAIL,
    "move_jail_to_own_space": _JAIL,
    "move_between_shares_jail": _JAIL,
    "move_mixed_jail_to_id": _JAIL,
    "move_path_to_path_home_to_share": _JAIL,
    "rename_mountpoint_jailroot": _JAIL,
    "mountpoints_after_rename": _JAIL,
    "owner_name_after_rename": _JAIL,
    "delete_mountpoint_*": _JAIL,
    "received_after_delete_mountpoint": _JAIL,
    "owner_content_after_delete_mountpoint": _JAIL,
    "*_in_jail_root": _JAIL,
    "stat_declined:jail*": _JAIL,
    "stat_declined:path": _JAIL,
    "declined_in_jail_list": _JAIL,
    "stat_own_mount_point": _JAIL,
    "jail_list_with_colliding_mounts": _JAIL,
    "after_collision": "The same as mount_points_list_after_collision, with pieces of random ids.",
    # 4 public links
    "create_public*": "The profile has no public links.",
    "auth_public*": "The profile has no public links; auth_type:publicshares:x asks what signing in to none is answered.",
    "public_*": "The profile has no public links.",
    # 5 tokens
    "auth_type:appauth:admin": "Was asked while the service for application passwords was not running.",
    "auth_type:bearer:*": "Was asked of a server without a service for `bearer`.",
    "used_token_still_accepted_after_exp_s": "Takes five seconds; token_expired_*s_ago ask the same.",
    "appauth_env": "Says how the service for application passwords was started.",
    "appauth_create_http": _GRAPH,
    "appauth_authenticate:http:*": "Uses a password of that other API; cs3_* ask the same.",
    "appauth_as_http_basic_on_proxy": _GRAPH,
    "appauth_list": "The emulator keeps application passwords, but does not list or withdraw them.",
    "appauth_invalidate_*": "The emulator keeps application passwords, but does not list or withdraw them.",
    "appauth_after_service_stopped": "Was asked while the service for application passwords was not running.",
    # 6 speed
    "*_100x4k*": _SPEED,
    "download_100x4k*": _SPEED,
    "*_ms": _SPEED,
    "stat_ms_deep_path": _SPEED,
    "stat_parallel_ms_per_call": _SPEED,
    "after_load_backlog_drain": _SPEED,
    "time_by_depth_p50_ms": _SPEED,
    "list1000": _SPEED,
    "stat_field_mask": "Says how many bytes an answer had.",
    "after_put_*": _CHANCE,
    "download_after_parallel_overwrite_w*": _CHANCE,
    "etag_around_processing": _CHANCE,
    "delete_right_after_put_idle_30x": _CHANCE,
    "download_right_after_*": _CHANCE,
    # 9 trash and versions
    "restore_into_other_space_watched": "Lists all that other measurements had left; restore_to_other_space asks the same.",
    # 10 names
    "deep_path_bare_id": _PATH_LENGTH,
    "deep_upload_download": _PATH_LENGTH,
    "deep_delete_top_ms": _PATH_LENGTH,
}


def reasons(name: str) -> list[str]:
    """The patterns that a fact's name matches."""
    return [pattern for pattern in NOT_ASKED if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))]
