"""The FUSE adapter: the only code that imports pyfuse3."""
