"""Where secrets come from and when tokens are renewed."""
