"""The closer look at OpenCloud: races, ranges, tokens, trash, names, shares, each asked again of the emulator."""
