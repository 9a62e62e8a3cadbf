"""Hand-crafted image features."""
