"""What nephra's services agree on: errors, paths, volumes, labels, messages, operations.

This package owns meaning and never transport: it imports no HTTP framework and nothing of
the other nephra packages.
"""
