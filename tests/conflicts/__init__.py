"""Two mounts, one file: the first to commit is intact, the second is beside it, in every order."""
