"""nnU-Net's JSON files, read so that what is wrong in them is refused and never raised raw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nephra_contract.errors import BundleInvalid

TRAINING_FOLDER = "Take the file from the folder that nnUNetv2_train left."


def read_document(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON object of nnU-Net.

    Raises:
        BundleInvalid: not there, or no JSON object.
    """
    try:
        document = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleInvalid(f"{name} is missing, or no JSON.", TRAINING_FOLDER) from error
    if not isinstance(document, dict):
        raise BundleInvalid(f"{name} is no JSON object.", TRAINING_FOLDER)
    return document


@contextmanager
def understood(document: str) -> Iterator[None]:
    """Refuse a document whose members are missing, or are of another kind than expected.

    Raises:
        BundleInvalid: with the document's name, and the missing member's.
    """
    try:
        yield
    except KeyError as error:
        raise BundleInvalid(f"{document} lacks '{error.args[0]}'.", TRAINING_FOLDER) from error
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise BundleInvalid(
            f"{document} holds a value that is not of the kind that nnU-Net writes.",
            TRAINING_FOLDER,
        ) from error
