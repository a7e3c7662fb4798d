"""POSIX semantics on inode numbers, without a kernel and without a network."""
