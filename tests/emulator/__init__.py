"""The proof that the embedded gateway answers as the real servers did."""
