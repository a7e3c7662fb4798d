"""Other people's programs against the embedded gateway, next to our mount."""
