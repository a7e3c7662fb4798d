"""``python -m cs3fuse.demo``: what ``make demo`` runs; the same as ``cs3fuse demo``."""

from __future__ import annotations

import argparse
import sys

from cs3fuse.demo.run import PROFILES, run_demo


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m cs3fuse.demo", description="Show cs3fuse against an embedded gateway.")
    parser.add_argument("--check", action="store_true", help="end after the last step; the exit status tells whether all went well")
    parser.add_argument("--profile", choices=PROFILES, default="reva", help="the server that the gateway imitates")
    arguments = parser.parse_args()
    return run_demo(arguments.check, arguments.profile)


if __name__ == "__main__":
    sys.exit(main())
