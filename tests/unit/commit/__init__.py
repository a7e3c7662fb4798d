"""Tests of cs3fuse.commit."""
