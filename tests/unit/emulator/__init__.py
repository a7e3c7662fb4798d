"""Tests of the embedded gateway's modules; the profiles are asked without sockets, the servers over loopback."""
