"""What nephra ships for the tests of those who extend it."""

from nephra_contract.testing.anatomy import anatomy
from nephra_contract.testing.operations import OperationTests
from nephra_contract.testing.orientation import ORIENTATIONS, reorient

__all__ = ["ORIENTATIONS", "OperationTests", "anatomy", "reorient"]
