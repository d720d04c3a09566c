"""The gateway: one HTTP address for every operation and for whole cases."""
