"""The entry point: all commands, and what becomes of their failures.

Exit status: 0 done, 1 failed with a sentence on stderr, 2 wrong usage, 3 done but something is not on the server (or not in the cache).
Late imports in the commands keep ``--help`` and ``umount`` fast.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cs3fuse import __version__
from cs3fuse.cli import cache, files, history, locks, mount, recover, servers, sharing, status, umount, unsent
from cs3fuse.cli.words import Unsent, warn
from cs3fuse.errors import Cs3FuseError

app = typer.Typer(
    name="cs3fuse",
    help="A CS3 gateway (Reva, OpenCloud, EOS behind them) as a local folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help is plain text: `[/path]` is no markup.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"cs3fuse {__version__}")
        raise typer.Exit


for command in (
    mount.mount,
    umount.umount,
    status.status,
    files.info,
    unsent.queue,
    unsent.flush,
    unsent.conflicts,
    recover.recover,
    locks.locks,
    locks.unlock,
    files.refresh,
    cache.cache,
    cache.warm,
    history.versions,
    history.restore,
    sharing.shares,
    sharing.accept,
    sharing.decline,
    sharing.share,
    sharing.unshare,
    sharing.link,
    sharing.invite,
    servers.gateway,
    servers.demo,
):
    app.command()(command)
app.add_typer(history.trash, name="trash")


def main() -> None:
    """Run a command; a failure is one sentence and an exit status."""
    try:
        app()
    except Unsent as left:
        warn(str(left))
        sys.exit(3)
    except Cs3FuseError as error:
        warn(str(error))
        sys.exit(1)
