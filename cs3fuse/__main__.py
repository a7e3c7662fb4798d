"""``python -m cs3fuse``: the command line, where the ``cs3fuse`` script is not on the PATH."""

from __future__ import annotations

from cs3fuse.cli import main

if __name__ == "__main__":
    main()
