"""What an installation is held to: known inputs, and what must come of them."""
