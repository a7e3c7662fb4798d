"""The demonstration: sample content, a gateway, two mounts, a histogram."""
