"""Old versions of files and the trash, as folders below ``.cs3``."""
