"""Copies of a found result where a request wants them, as the predictor would have put them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nephra_contract.paths import DataRoot
from nephra_contract.results import check_output, place

#: What an operation makes, by the first of these that an answer has.
_MAIN = ("mask_path", "obj_path")


def place_all(
    data: DataRoot, answer: Mapping[str, Any], output_path: str, inputs: Iterable[str]
) -> dict[str, str]:
    """Put copies of all files of an answer into the folder of an `output_path`.

    They bear its name already: results of other names have other keys.

    Args:
        data: the data root.
        answer: of an operation, with the paths of its files.
        output_path: as requested.
        inputs: files of the request; they are not written over.

    Returns:
        By member of the answer, where its copy is.

    Raises:
        PathRefused, RequestInvalid: as the predictor would say it.
        FileMissing: a file of the answer has gone.
        OSError: it cannot be written.
    """
    protected = {data.file(path) for path in inputs}
    files = {m: data.file(str(answer[m])) for m in answer if _placed(m, answer)}
    main = next((files[m] for m in _MAIN if m in files), None)
    if main is not None:
        check_output(main.name, data, output_path, protected)
    folder = PurePosixPath(output_path).parent
    return {m: _place(file, data, folder, protected) for m, file in files.items()}


def _placed(member: str, answer: Mapping[str, Any]) -> bool:
    return member.endswith("_path") and member != "manifest_path" and bool(answer[member])


def _place(file: Path, data: DataRoot, folder: PurePosixPath, protected: set[Path]) -> str:
    return data.name(place(file, data, str(folder / file.name), protected))
