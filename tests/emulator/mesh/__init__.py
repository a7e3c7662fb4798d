"""The questions that were asked of two Reva sites sharing with each other, asked of two emulators."""
