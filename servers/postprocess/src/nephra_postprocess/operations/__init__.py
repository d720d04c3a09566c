"""What this predictor offers; a new operation adds the name of its module here."""

from nephra_contract.operation import collect

OPERATIONS = collect(__name__, "fat", "merge", "sample", "ureter", "vessel")
