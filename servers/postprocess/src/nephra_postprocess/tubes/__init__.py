"""Severed tubes rejoined: pieces, their ends, the plausible bridges between them, drawn."""
