"""``cs3fuse gateway`` and ``demo``: the embedded gateway, for trying out and for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def gateway(
    folder: Annotated[Path | None, typer.Argument(help="Folder to serve; default: a temporary one, removed at the end.")] = None,
    *,
    profile: Annotated[str, typer.Option(help="reva, opencloud or eos: whose answers to give.")] = "reva",
    grpc_port: Annotated[int, typer.Option(help="Port of the gRPC gateway; 0 takes a free one.")] = 0,
    http_port: Annotated[int, typer.Option(help="Port of the data server; 0 takes a free one.")] = 0,
    site: Annotated[str, typer.Option(metavar="NAME", help="Take part in a mesh (OCM) under this name: a.example.org.")] = "",
    peer: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another site of the mesh and its data server; may be repeated.")
    ] = None,
    ocm_mount: Annotated[
        str, typer.Option(metavar="PATH", help="Where files of other sites are served: the option ocm_mount of a mount.")
    ] = "/ocm-received",
) -> None:
    """Run the embedded CS3 gateway on loopback, for trying out and for tests.

    Two gateways with --site and --peer make a mesh; either may be started first.
    """
    import tempfile

    from cs3fuse.emulator.config import PROFILES, EmulatorConfig
    from cs3fuse.emulator.server import run

    if profile not in PROFILES:
        raise typer.BadParameter(f"there is no profile {profile}; choose one of {', '.join(PROFILES)}")
    with tempfile.TemporaryDirectory(prefix="cs3fuse-gateway-") as temporary:
        root = folder.absolute() if folder is not None else Path(temporary)
        try:
            config = EmulatorConfig(
                root=root,
                profile=profile,
                grpc_port=grpc_port,
                http_port=http_port,
                site_name=site,
                peers=dict(_site_and_url(each) for each in peer or ()),
                ocm_mount=ocm_mount,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        run(config)


def _site_and_url(text: str) -> tuple[str, str]:
    """``NAME=URL`` of a peer. Raises: typer.BadParameter."""
    name, _, url = text.partition("=")
    if not name or not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{text} is no peer; write it like b.example.org=http://127.0.0.1:9202")
    return name, url


def demo(
    *,
    check: Annotated[bool, typer.Option("--check", help="Run, verify, clean up and exit.")] = False,
    profile: Annotated[str, typer.Option(help="reva, opencloud or eos: whose answers the embedded gateway gives.")] = "reva",
) -> None:
    """Start the embedded gateway with sample files, mount it, and show it at work."""
    from cs3fuse.demo.run import run_demo

    raise typer.Exit(run_demo(check=check, profile=profile))
