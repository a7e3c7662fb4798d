"""Faults on the way to the server, one test for each row of docs/durability.md: what the program sees, where the bytes are, how they come back."""
