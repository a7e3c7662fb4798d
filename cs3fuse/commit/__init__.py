"""Staged files, journal and the commit protocol."""
