"""``python -m cs3fuse``."""

from cs3fuse.cli.main import main

main()
