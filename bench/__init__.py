"""Benchmarks: one program of work for cs3fuse, for bare calls and for other clients, against one gateway. Run by ``make bench``."""
