"""What all inference operations may be told."""

from __future__ import annotations

from typing import Any, NoReturn

from pydantic import Field

from nephra_contract.errors import InternalError
from nephra_contract.operation import Parameters


class InferenceParameters(Parameters):
    """Parameters of every inference operation."""

    mirroring: bool = Field(
        False,
        description="Average over mirrored predictions: up to eight times slower, a little better.",
    )
    strict_phases: bool = Field(
        False,
        description="Refuse an image that contradicts its phase, instead of warning.",
    )


class OneTaskParameters(InferenceParameters):
    """Parameters of an operation that runs one model."""

    bundle: str | None = Field(
        None, description="Name of the model; GET /bundles lists them. The default if left out."
    )


def needs_models(*_: Any) -> NoReturn:
    """The function of an operation that is nothing without its models.

    Raises:
        InternalError: always; `runner.NnunetRunner` runs these operations.
    """
    raise InternalError("An inference operation was run without its models.")
