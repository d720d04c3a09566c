"""Bad input over HTTP: a clear 4xx, a stable code, what to do, and nothing left behind."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest

from e2e.service import tree
from nephra_contract import labels as names

pytestmark = pytest.mark.e2e

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
Make = Callable[[Path], object]


def _save(path: Path, voxels: Any, affine: Any = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


def _ct(**changes: Any) -> Make:
    """A small CT of water with a few bright voxels, changed in one way."""

    def make(path: Path) -> None:
        voxels = np.zeros(changes.get("shape", (24, 24, 24)), changes.get("dtype", np.int16))
        if "value" in changes:
            voxels[(0,) * voxels.ndim] = changes["value"]
        _save(path, voxels, changes.get("affine", AFFINE))

    return make


def _mask(*numbers: float, dtype: Any = np.uint8) -> Make:
    def make(path: Path) -> None:
        voxels = np.zeros((24, 24, 24), dtype)
        for n, number in enumerate(numbers):
            voxels[4 + 4 * n : 8 + 4 * n, 4:20, 4:20] = number
        _save(path, voxels)

    return make


def _bytes(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def _truncated(path: Path) -> None:
    noise = np.random.default_rng(1).integers(-1000, 1000, (24, 24, 24)).astype(np.int16)
    _save(path, noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _bomb(path: Path) -> None:
    """A few kB that announce little and unpack to 256 MB."""
    plain = path.with_name("plain.nii")
    _ct()(plain)
    with gzip.open(path, "wb", compresslevel=9) as stream:
        stream.write(plain.read_bytes())
        for _ in range(16):
            stream.write(bytes(16 * 2**20))
    plain.unlink()


def _header(offset: int, content: bytes) -> Make:
    """A small CT with bytes of its header overwritten."""

    def make(path: Path) -> None:
        plain = path.with_name("plain.nii")
        _ct()(plain)
        raw = bytearray(plain.read_bytes())
        raw[offset : offset + len(content)] = content
        path.write_bytes(gzip.compress(bytes(raw)))
        plain.unlink()

    return make


def _colour(path: Path) -> None:
    _save(path, np.zeros((8, 8, 8), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])))


def _sheared(path: Path) -> None:
    affine = AFFINE.copy()
    affine[0, 2] = 1.0
    _ct(affine=affine)(path)


def _directory(path: Path) -> None:
    path.mkdir()


def _link_out(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _nothing(path: Path) -> None:
    assert not path.exists()


FILES: list[tuple[str, int, Make]] = [
    ("file_not_found", 404, _nothing),
    ("path_is_directory", 400, _directory),
    ("path_refused", 400, _link_out),
    ("file_empty", 422, _bytes(b"")),
    ("file_truncated", 422, _truncated),
    ("file_longer_than_header", 422, _bomb),
    ("file_not_nifti", 422, _bytes(b"patient notes, not an image\n" * 50)),
    ("file_not_nifti", 422, _bytes(b"\x1f\x8b\x08damaged")),
    ("not_three_dimensional", 422, _ct(shape=(24, 24))),
    ("not_three_dimensional", 422, _ct(shape=(8, 8, 8, 3))),
    ("voxels_not_scalar", 422, _colour),
    ("affine_singular", 422, _header(280, struct.pack("<8f", *[1.0] * 8))),
    ("affine_not_finite", 422, _header(280, struct.pack("<f", float("nan")))),
    ("spacing_zero", 422, _header(280, bytes(48))),
    ("volume_too_large", 413, _header(40, struct.pack("<8h", 3, 30000, 30000, 900, 1, 1, 1, 1))),
]
IMAGES: list[tuple[str, int, Make]] = [
    ("voxels_not_finite", 422, _ct(dtype=np.float32, value=np.nan)),
    ("voxels_not_finite", 422, _ct(dtype=np.float32, value=np.inf)),
    ("affine_sheared", 422, _sheared),
]
MASKS: list[tuple[str, int, Make]] = [
    ("voxels_not_integer", 422, _mask(2, 0.5, dtype=np.float32)),
    ("labels_unknown", 422, _mask(2, 250)),
    ("labels_unknown", 422, _mask(2, -1, dtype=np.int16)),
    ("structure_missing", 422, _mask(names.TUMOR)),
    ("structure_missing", 422, _mask()),
]
PATHS = [
    "/etc/hostname",
    "../inputs/a.nii.gz",
    "a/../../b.nii.gz",
    "..",
    ".",
    "",
    "   ",
    "a\x00.nii.gz",
    "..\\b.nii.gz",
    "~/a.nii.gz",
    "file:///etc/hostname",
    "%2e%2e/a.nii.gz",
]
REQUESTS: list[tuple[str, int, str, Any]] = [
    ("request_invalid", 422, "inference/tumor", {}),
    ("request_invalid", 422, "inference/tumor", {"image_path": 7}),
    ("request_invalid", 422, "inference/tumor", {"image_path": ["a.nii.gz"]}),
    ("request_invalid", 422, "inference/tumor", {"image_path": "a.nii.gz", "colour": "red"}),
    ("request_invalid", 422, "inference/vessel", {"image_A_path": "a.nii.gz"}),
    ("request_invalid", 422, "postprocess/fat", {"mask_path": {"a": 1}}),
    ("request_invalid", 422, "smoothing/base", {"mask_path": "a.nii.gz", "labels": "mine"}),
    ("request_invalid", 422, "cases", {"phases": {}}),
    ("request_invalid", 422, "cases", {"phases": {"X": "a.nii.gz"}}),
    ("request_invalid", 422, "cases", {"phases": {"A": 3}}),
    ("request_invalid", 422, "cases", {"phases": {"A": "a.nii.gz"}, "structures": ["heartless"]}),
    ("request_invalid", 422, "cases", {"phases": {"A": "a.nii.gz"}, "more": True}),
    ("operation_unknown", 404, "postprocess/magic", {"mask_path": "a.nii.gz"}),
]


def _check(answer: httpx.Response, code: str, status: int, data: Path) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert len(problem["detail"]) > 10
    assert len(problem["action"]) > 5
    for secret in (str(data), "Traceback", ".py", "site-packages"):
        assert secret not in answer.text


def _refused(service: Any, operation: str, request: Any, code: str, status: int) -> None:
    before = tree(service.data)
    answer = service.post(operation, request)
    _check(answer, code, status, service.data)
    assert tree(service.data) == before


@pytest.mark.parametrize(("code", "status", "make"), FILES + IMAGES)
def test_a_bad_image_is_refused(
    service: Any, inputs: Path, code: str, status: int, make: Make
) -> None:
    """By the operation and by a whole case alike."""
    make(inputs / "a.nii.gz")
    name = f"{inputs.name}/a.nii.gz"
    _refused(service, "inference/tumor", {"image_path": name}, code, status)
    _refused(service, "cases", {"phases": {"A": name}}, code, status)


@pytest.mark.parametrize(("code", "status", "make"), FILES + MASKS)
def test_a_bad_mask_is_refused(
    service: Any, inputs: Path, code: str, status: int, make: Make
) -> None:
    """A mask without a kidney has no fat around it."""
    make(inputs / "a.nii.gz")
    name = f"{inputs.name}/a.nii.gz"
    _refused(service, "postprocess/fat", {"mask_path": name}, code, status)


@pytest.mark.parametrize("path", PATHS)
def test_paths_outside_of_the_data_root_are_refused(service: Any, path: str) -> None:
    """In inputs and in `output_path`, in every disguise."""
    for operation, member in (
        ("inference/totalseg", "image_path"),
        ("smoothing/base", "mask_path"),
        ("postprocess/sample", "template_path"),
    ):
        request = {"mask_path": "masks/truth.nii.gz"} if member == "template_path" else {}
        answer = service.post(operation, {**request, member: path})
        # An address or an escaped dot is just the name of a file that is not there.
        plain = path.startswith(("file:", "%"))
        _check(answer, *(("file_not_found", 404) if plain else ("path_refused", 400)), service.data)
    if not path.startswith(("file:", "%")):
        request = {"mask_path": "masks/truth.nii.gz", "output_path": path}
        _refused(service, "postprocess/fat", request, "path_refused", 400)
        _refused(service, "cases", {"phases": {"A": path}}, "path_refused", 400)


@pytest.mark.parametrize(("code", "status", "operation", "request_"), REQUESTS)
def test_a_request_that_is_not_understood_is_refused(
    service: Any, code: str, status: int, operation: str, request_: Any
) -> None:
    """Unknown, missing and ill-typed members are named."""
    _refused(service, operation, request_, code, status)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'"a"', b"\xff\xfe"])
def test_a_body_that_is_no_object_is_refused(service: Any, body: bytes) -> None:
    """Not JSON, or not an object: 4xx, never a stack trace."""
    for operation in ("postprocess/fat", "cases"):
        answer = service.post(operation, content=body)
        assert 400 <= answer.status_code < 500
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert answer.json()["code"]


def test_phases_that_do_not_overlap_are_refused(service: Any, inputs: Path) -> None:
    """A portal phase of somewhere else."""
    far = AFFINE.copy()
    far[:3, 3] = 5000
    _ct()(inputs / "a.nii.gz")
    _ct(affine=far)(inputs / "p.nii.gz")
    a, p = (f"{inputs.name}/{n}.nii.gz" for n in "ap")
    request = {"image_A_path": a, "image_P_path": p}
    _refused(service, "inference/vessel", request, "phases_apart", 422)
    _refused(service, "cases", {"phases": {"A": a, "P": p}}, "phases_apart", 422)


@pytest.mark.parametrize(
    ("phases", "structure", "needed"),
    [("A", "ureter", "D"), ("A", "vein", "P"), ("P", "artery", "A"), ("D", "artery", "A")],
)
def test_a_structure_without_its_phase_is_refused(
    service: Any, phases: str, structure: str, needed: str
) -> None:
    """Before any work starts, and it says which phase it needs."""
    request = {"phases": {p: f"phantom/{p}.nii.gz" for p in phases}, "structures": [structure]}
    answer = service.post("cases", request)
    _check(answer, "phase_missing", 422, service.data)
    assert needed in answer.json()["detail"] + answer.json()["action"]


def test_a_token_is_needed(service: Any) -> None:
    """Without one, or with a wrong one: 401 that says how."""
    for sent, code in (
        (None, "unauthorized"),
        ("Basic eDp5", "unauthorized"),
        ("Bearer wrong", "token_unknown"),
    ):
        headers = {"Authorization": sent} if sent else {}
        answer = httpx.post(f"{service.url}/postprocess/fat", json={}, headers=headers)
        _check(answer, code, 401, service.data)
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_predictor_that_is_down_is_a_503_with_retry_after(lone_gateway: Any) -> None:
    """The request may be right; the caller learns when to ask again."""
    answer = lone_gateway.post("smoothing/base", {"mask_path": "masks/truth.nii.gz"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["code"] == "predictor_unavailable"
    assert lone_gateway.get("readyz").status_code == 503


def test_a_sheared_mask_is_carried_where_a_sheared_image_is_not(service: Any, inputs: Path) -> None:
    """Masks and meshes follow any affine."""
    affine = AFFINE.copy()
    affine[0, 2] = 1.0
    voxels = np.zeros((24, 24, 24), np.uint8)
    voxels[6:18, 6:18, 6:18] = names.KIDNEY_LEFT
    _save(inputs / "a.nii.gz", voxels, affine)
    answer = service.post("smoothing/base", {"mask_path": f"{inputs.name}/a.nii.gz"})
    assert answer.status_code == 200, answer.text
    expected_ml = 12**3 * abs(np.linalg.det(affine)) / 1000
    assert answer.json()["volumes_ml"]["kidney_left"] == pytest.approx(expected_ml, rel=0.02)
