"""``python -m cs3fuse``."""

from cs3fuse.cli import main

main()
