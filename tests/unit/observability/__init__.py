"""Tests of cs3fuse.observability."""
