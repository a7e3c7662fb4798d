"""Metadata cache and content store."""
