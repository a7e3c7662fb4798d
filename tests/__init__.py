"""Tests of cs3fuse; ``tests/unit`` mirrors the package, ``tests/mount`` needs a kernel with FUSE."""
