"""Tests of single modules; no kernel, no sleeping, no network but loopback."""
