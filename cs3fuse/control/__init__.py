"""The per-mount socket that umount, status, info and flush speak to."""
