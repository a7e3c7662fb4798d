"""Kill tests: what was acknowledged is on the server and what was sealed comes back, whenever the daemon, the gateway or the wire dies."""
