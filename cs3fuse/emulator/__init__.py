"""A CS3 gateway over a plain folder; imports nothing of the rest of the package."""
