"""`python -m cs3fuse.emulator`: a gateway as a process of its own, for tests and benchmarks.

Prints one line of JSON with the ports once it answers and ends on SIGTERM or SIGINT.
"""

import argparse
import tempfile
from pathlib import Path

from cs3fuse.emulator.config import PROFILES, EmulatorConfig
from cs3fuse.emulator.server import run


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m cs3fuse.emulator", description="An emulated CS3 gateway on loopback.")
    parser.add_argument("--profile", choices=PROFILES, default="reva", help="which server to imitate")
    parser.add_argument("--root", type=Path, help="folder with one folder per user (default: a temporary one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--grpc-port", type=int, default=0, help="0: any free port")
    parser.add_argument("--http-port", type=int, default=0, help="0: any free port")
    parser.add_argument("--token-life", type=float, default=86400.0, help="life of access tokens [s]")
    parser.add_argument("--transfer-life", type=float, default=6000.0, help="life of transfer tokens [s]")
    parser.add_argument("--quota", type=int, help="quota of each user [bytes]")
    parser.add_argument("--seed", type=int, default=0, help="makes faults and ids repeatable")
    parser.add_argument("--control", action="store_true", help="serve the /_control endpoints")
    parser.add_argument("--expose", action="store_true", help="hand out real data URLs")
    parser.add_argument("--tls-cert", type=Path, help="PEM file; with --tls-key everything is TLS")
    parser.add_argument("--tls-key", type=Path, help="PEM file")
    parser.add_argument("--user", action="append", default=[], metavar="NAME:PASSWORD", help="instead of the three usual users")
    parser.add_argument("--quirk", action="append", default=[], metavar="NAME=VALUE", help="switch a habit of the server")
    parser.add_argument("--site", default="", metavar="NAME", help="take part in a mesh under this name (OCM)")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=URL", help="another site of the mesh and its HTTP side"
    )
    parser.add_argument("--ocm-mount", default="/ocm-received", metavar="PATH", help="where received OCM shares are mounted")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cs3-emulator-") as temporary:
        settings = EmulatorConfig(
            root=(arguments.root or Path(temporary)).absolute(),
            profile=arguments.profile,
            host=arguments.host,
            grpc_port=arguments.grpc_port,
            http_port=arguments.http_port,
            token_life_s=arguments.token_life,
            transfer_life_s=arguments.transfer_life,
            quota_bytes=arguments.quota,
            seed=arguments.seed,
            control=arguments.control,
            expose=arguments.expose,
            tls_cert=arguments.tls_cert,
            tls_key=arguments.tls_key,
            quirks={name: float(value) for name, _, value in (item.partition("=") for item in arguments.quirk)},
            site_name=arguments.site,
            peers={name: url for name, _, url in (item.partition("=") for item in arguments.peer)},
            ocm_mount=arguments.ocm_mount,
        )
        if arguments.user:
            settings.users = {name: password for name, _, password in (item.partition(":") for item in arguments.user)}
        run(settings)


if __name__ == "__main__":
    main()
