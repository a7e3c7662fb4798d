"""Tests of cs3fuse.demo."""
