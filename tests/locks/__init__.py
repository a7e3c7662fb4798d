"""Locks between two mounts and other programs, over time."""
