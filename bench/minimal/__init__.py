"""A mount in Python that does nothing but move names and bytes: what pyfuse3, trio and grpcio cost without what makes a mount trustworthy.

It stands between the bare calls and cs3fuse, to compare with. It is short, not tuned: where ours takes care of the time (listings) it is the
slower one. It keeps no promise. Nothing is checked or settled, nothing survives, nobody is locked out, one answer of the server is
believed for ever, and a failure is EIO.
"""
