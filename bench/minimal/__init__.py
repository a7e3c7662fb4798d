"""The least that a mount in Python can be: what pyfuse3, trio and grpcio cost without anything that makes a mount trustworthy.

It stands between the bare calls and cs3fuse: what it needs, no mount of this kind can save. It keeps no promise. Nothing is checked or
settled, nothing survives, nobody is locked out, one answer of the server is believed for ever, and a failure is EIO.
"""
