"""Tests of cs3fuse.locks."""
