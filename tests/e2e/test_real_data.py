"""Real CTs and masks through the real services; skipped where they are not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_contract.nifti import read_labels
from nephra_contract.nifti_header import read_header

pytestmark = [pytest.mark.e2e, pytest.mark.real_data]

CTS = ("ts_example_ct", "cptac_C3L-00189")
KITS = ("case_00021", "case_00193")
SEGMENTED = "ct/ts_example_ct_seg_v1.nii.gz"


def _bring(real_data: Path, name: str, service: Any) -> str:
    target = service.data / "real" / Path(name).name
    target.parent.mkdir(exist_ok=True)
    if not target.exists():
        shutil.copyfile(real_data / name, target)
    return f"real/{target.name}"


@pytest.mark.parametrize("name", CTS)
def test_a_real_ct_becomes_a_valid_scene_on_its_own_grid(
    service: Any, real_data: Path, check_scene: Any, name: str
) -> None:
    """The path holds for int32 at 3 mm, and for 512x512x35 at 5 mm padded with -3024."""
    path = _bring(real_data, f"ct/{name}.nii.gz", service)
    answer = service.run("cases", phases={"A": path})
    image = read_header(service.data / path)
    mask = read_labels(service.data / answer["mask_path"])
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    check_scene(service.data / answer["scene_path"], mask)
    manifest = json.loads((service.data / answer["manifest_path"]).read_text())
    assert manifest["inputs"]["A"]["sha256"]


@pytest.mark.parametrize(
    ("task", "members"),
    [("vessel", ("image_A_path", "image_P_path")), ("ureter", ("image_D_path",))],
)
@pytest.mark.parametrize("name", CTS)
def test_every_model_takes_a_real_ct(
    service: Any, real_data: Path, name: str, task: str, members: tuple[str, ...]
) -> None:
    """Offered as each phase that a model asks for; the mask is on the image's grid."""
    path = _bring(real_data, f"ct/{name}.nii.gz", service)
    answer = service.run(f"inference/{task}", **dict.fromkeys(members, path))
    assert (
        read_header(service.data / answer["mask_path"]).shape
        == read_header(service.data / path).shape
    )


def test_the_reference_mask_is_meshed_and_completed(
    service: Any, real_data: Path, check_scene: Any
) -> None:
    """TotalSegmentator v1 numbers in, ours out; volumes within 2 %; fat on both sides."""
    path = _bring(real_data, SEGMENTED, service)
    request = {"mask_path": path, "labels": "totalseg_v1"}
    mask = read_labels(service.data / path, "totalseg_v1")
    surface = service.run("smoothing/base", **request)
    check_scene(service.data / surface["obj_path"], mask)
    fat = service.run("postprocess/fat", **request)
    assert fat["volumes_ml"]["perirenal_fat"] > 50
    sample = service.run("postprocess/sample", **request)
    assert sample["report"]["jacobian_min"] > 0


@pytest.mark.parametrize("name", KITS)
def test_kits_masks_come_out_right_side_up(
    service: Any, real_data: Path, check_scene: Any, name: str
) -> None:
    """Array order z, y, x: kidneys get sides from the patient, meshes lie over the mask."""
    path = _bring(real_data, f"masks/kits23/{name}.nii.gz", service)
    request = {"mask_path": path, "labels": "kits"}
    fat = service.run("postprocess/fat", **request)
    mask = read_labels(service.data / fat["mask_path"])
    x_mm = {
        n: float(mask.to_world(np.argwhere(mask.voxels == n))[:, 0].mean())
        for n in (names.KIDNEY_RIGHT, names.KIDNEY_LEFT)
        if n in mask.counts
    }
    if len(x_mm) == 2:
        assert x_mm[names.KIDNEY_RIGHT] > x_mm[names.KIDNEY_LEFT]
    surface = service.run("smoothing/base", mask_path=fat["mask_path"])
    check_scene(service.data / surface["obj_path"], mask)
    sample = service.run("postprocess/sample", **request)
    assert sample["report"]["jacobian_min"] > 0
    service.run("smoothing/base", mask_path=sample["mask_path"])


def test_a_real_gap_is_closed_and_a_wide_one_is_not(service: Any, real_data: Path) -> None:
    """A vena cava in two pieces 3.8 mm apart becomes one; pieces 35 mm apart stay apart."""
    near = _bring(real_data, "masks/veins_real_gaps/inferior_vena_cava_gap4mm.nii.gz", service)
    cava = {"mask_path": near, "labels": {"inferior_vena_cava": 1}}
    joined = service.run("postprocess/vessel", **cava, structures=["inferior_vena_cava"])
    assert len(joined["report"]["bridges"]) >= 1
    far = _bring(real_data, "masks/veins_real_gaps/portal_splenic_gap35mm.nii.gz", service)
    portal = {"mask_path": far, "labels": {"portal_vein_and_splenic_vein": 1}}
    apart = service.run("postprocess/vessel", **portal, structures=["portal_vein_and_splenic_vein"])
    assert all(bridge["length_mm"] < 30 for bridge in apart["report"]["bridges"])
