"""Each operation over HTTP, on real files, with the real predictors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from nephra_contract import labels as names
from nephra_contract.nifti import read_image, read_labels, write_image, write_labels
from nephra_contract.nifti_header import read_header
from nephra_contract.results import sha256
from nephra_contract.testing import ORIENTATIONS, reorient
from nephra_contract.volume import LabelMap
from nephra_phantom import Grid, Phantom

pytestmark = pytest.mark.e2e

IMAGES = {
    "totalseg": {"image_path": "phantom/A.nii.gz"},
    "tumor": {"image_path": "phantom/A.nii.gz"},
    "vessel": {"image_A_path": "phantom/A.nii.gz", "image_P_path": "phantom/P.nii.gz"},
    "ureter": {"image_D_path": "phantom/D.nii.gz"},
}
#: What each model must find in the phantom, at the coarse grid of these tests.
FOUND = {
    "totalseg": ((names.KIDNEY_RIGHT, names.KIDNEY_LEFT), 0.85),
    "tumor": ((names.KIDNEY_RIGHT, names.KIDNEY_LEFT), 0.85),
    "vessel": ((names.ARTERY,), 0.6),
    "ureter": ((names.URETER_RIGHT,), 0.3),
}


def _dice(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def _truth(phantom: Phantom, grid: Grid, task: str) -> LabelMap:
    return phantom.labels(grid, "D" if task == "ureter" else "A")


def _same(number: int) -> tuple[int, ...]:
    """The truth's labels that a model's label stands for."""
    return {
        names.ARTERY: (names.ARTERY, names.AORTA),
        names.URETER_RIGHT: (names.URETER_RIGHT, names.URETER_LEFT, names.RENAL_PELVIS),
    }.get(number, (number,))


@pytest.mark.parametrize("task", list(IMAGES))
def test_inference_finds_the_structures_on_the_images_grid(
    service: Any, phantom: Phantom, grid: Grid, task: str
) -> None:
    """A mask on exactly the grid of the image, sides right, labels ours."""
    answer = service.run(f"inference/{task}", **IMAGES[task])
    mask = read_labels(service.data / answer["mask_path"])
    image = read_header(service.data / next(iter(IMAGES[task].values())))
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    truth = _truth(phantom, grid, task)
    numbers, least = FOUND[task]
    for number in numbers:
        found = mask.mask(names.URETERS if number == names.URETER_RIGHT else [number])
        assert _dice(found, truth.mask(_same(number))) > least, names.name_of(number)


def test_the_manifest_says_where_a_mask_comes_from(service: Any) -> None:
    """Inputs by digest, bundle by digest, parameters, versions, timings, volumes."""
    answer = service.run("inference/tumor", image_path="phantom/A.nii.gz")
    manifest = json.loads((service.data / answer["manifest_path"]).read_text())
    image = service.data / "phantom" / "A.nii.gz"
    assert manifest["inputs"]["image_path"][0]["sha256"] == sha256(image)
    assert len(manifest["bundle"]["digest"]) == 64
    assert manifest["volumes_ml"] == answer["volumes_ml"]
    assert manifest["timings"]
    # Of who asked for it first; this one may have been answered from the cache.
    assert manifest["ticket"] in answer["manifest_path"]
    table = json.loads((service.data / answer["labels_path"]).read_text())
    assert set(table) == set(answer["volumes_ml"])


def test_several_tasks_read_each_image_once_and_the_next_request_never(service: Any) -> None:
    """[totalseg, tumor, vessel] on new images: one read of each file; then none, and the same."""
    for phase in "AP":
        image = read_image(service.data / "phantom" / f"{phase}.nii.gz")
        # Content that no other test has sent, nor this one before to the same installation.
        image.voxels[0, 0, :8] = np.random.default_rng().integers(-1000, 1000, 8)
        write_image(service.data / "phantom" / f"new_{phase}.nii.gz", image)
    paths = {f"image_{p}_path": f"phantom/new_{p}.nii.gz" for p in "AP"}
    asked = {"tasks": ["totalseg", "tumor", "vessel"], **paths}
    # The models' own memory of images, not the cache of results, is what is looked at.
    first, second = (service.run("inference", fresh=True, **asked) for _ in range(2))
    assert set(first["parts"]) == {"totalseg", "tumor", "vessel"}
    assert first["report"]["reads"] == dict.fromkeys(paths.values(), 1)
    assert first["report"]["prepared_channels"] > 0
    assert second["report"] == {"reads": {}, "prepared_channels": 0}
    for task, part in first["parts"].items():
        assert part["volumes_ml"] == second["parts"][task]["volumes_ml"]
    third = service.run("inference", **asked)
    assert third["cached"]
    assert third["parts"]["tumor"]["mask_path"] == second["parts"]["tumor"]["mask_path"]


def test_smoothing_gives_closed_named_surfaces_over_the_mask(
    service: Any, check_scene: Any
) -> None:
    """OBJ in LPS mm: watertight, positive volume, within 2 % (tubes 5 %), in place."""
    answer = service.run("smoothing/base", mask_path="masks/truth.nii.gz")
    mask = read_labels(service.data / "masks/truth.nii.gz")
    check_scene(service.data / answer["obj_path"], mask)
    assert (service.data / answer["mtl_path"]).is_file()
    assert trimesh.load(service.data / answer["glb_path"]).geometry


def test_fat_surrounds_the_kidneys_only(service: Any) -> None:
    """Everything that was labelled stays; only label 209 is added."""
    mask = read_labels(service.data / "masks/truth.nii.gz")
    bare = mask.like(np.where(mask.voxels == names.PERIRENAL_FAT, 0, mask.voxels))
    write_labels(service.data / "masks/bare.nii.gz", bare)
    answer = service.run("postprocess/fat", mask_path="masks/bare.nii.gz")
    found = read_labels(service.data / answer["mask_path"])
    assert answer["volumes_ml"]["perirenal_fat"] > 50
    changed = found.voxels != bare.voxels
    assert (found.voxels[changed] == names.PERIRENAL_FAT).all()
    assert not bare.voxels[changed].any()


def test_a_sample_carries_a_template_to_the_patient(service: Any, grid: Grid) -> None:
    """Another patient's whole anatomy, registered by the kidneys; the old spelling works too."""
    template = Phantom(90_002).labels(grid, "A")
    write_labels(service.data / "masks/template.nii.gz", template)
    mask = read_labels(service.data / "masks/truth.nii.gz")
    kept = (names.KIDNEY_RIGHT, names.KIDNEY_LEFT, names.TUMOR)
    kidneys = mask.like(np.where(np.isin(mask.voxels, kept), mask.voxels, 0))
    write_labels(service.data / "masks/kidneys.nii.gz", kidneys)
    for member in ("template_path", "templete_path"):
        answer = service.run(
            "postprocess/sample",
            **{"mask_path": "masks/kidneys.nii.gz", member: "masks/template.nii.gz"},
        )
        found = read_labels(service.data / answer["mask_path"])
        inside = kidneys.voxels > 0
        assert (found.voxels[inside] == kidneys.voxels[inside]).all()
        assert {names.AORTA, names.SPINE, names.URETER_LEFT} <= set(found.present)
        assert answer["report"]["jacobian_min"] > 0
        manifest = json.loads((service.data / answer["manifest_path"]).read_text())
        assert manifest["report"]["synthetic"] is True


@pytest.mark.parametrize(
    ("operation", "number"),
    [("postprocess/vessel", names.ARTERY), ("postprocess/ureter", names.URETER_LEFT)],
)
def test_a_severed_tube_is_rejoined(service: Any, operation: str, number: int) -> None:
    """Cut across by a few voxels; the bridge lies in the cut."""
    mask = read_labels(service.data / "masks/truth.nii.gz")
    where = np.argwhere(mask.voxels == number)
    longest = int(np.ptp(where, axis=0).argmax())
    middle = int(np.median(where[:, longest]))
    if number == names.ARTERY:
        # A renal artery runs from side to side: cut half way between hilum and aorta.
        longest, side = 0, where[where[:, 0] > np.median(where[:, 0])]
        middle = int(side[:, 0].min() + 5)
    severed = mask.voxels.copy()
    cut = [slice(None)] * 3
    cut[longest] = slice(middle - 1, middle + 1)
    part = severed[tuple(cut)]
    part[part == number] = 0
    removed = int((mask.voxels == number).sum() - (severed == number).sum())
    assert removed > 0
    name = f"masks/severed-{number}.nii.gz"
    write_labels(service.data / name, mask.like(severed))
    answer = service.run(operation, mask_path=name)
    assert answer["report"]["bridges"], answer["report"]
    found = read_labels(service.data / answer["mask_path"])
    assert (found.voxels == number).sum() > (severed == number).sum()


def test_masks_in_several_files_are_merged_on_the_first_grid(service: Any) -> None:
    """Kidneys in one file, the tumour in another with its axes stored otherwise."""
    mask = read_labels(service.data / "masks/truth.nii.gz")
    tumor = mask.like(np.where(mask.voxels == names.TUMOR, mask.voxels, 0))
    rest = mask.like(np.where(mask.voxels == names.TUMOR, 0, mask.voxels))
    write_labels(service.data / "masks/rest.nii.gz", rest)
    write_labels(service.data / "masks/tumor.nii.gz", reorient(tumor, ORIENTATIONS[29]))
    answer = service.run("postprocess/merge", mask_path=["masks/rest.nii.gz", "masks/tumor.nii.gz"])
    merged = read_labels(service.data / answer["mask_path"])
    np.testing.assert_array_equal(merged.voxels, mask.voxels)


def test_output_path_is_honoured(service: Any) -> None:
    """The caller's own name below the data root."""
    answer = service.run(
        "postprocess/fat", mask_path="masks/truth.nii.gz", output_path="mine/fat.nii.gz"
    )
    assert answer["mask_path"] == "mine/fat.nii.gz"
    assert read_labels(service.data / "mine/fat.nii.gz").counts[names.PERIRENAL_FAT]


def test_axis_order_does_not_change_where_an_organ_is(
    service: Any, phantom: Phantom, grid: Grid
) -> None:
    """The same image with its axes stored otherwise: the same kidneys, left stays left."""
    image = phantom.volume("A", grid)
    turned = reorient(image, ORIENTATIONS[37])
    write_image(service.data / "phantom/turned.nii.gz", turned)
    answer = service.run("inference/totalseg", image_path="phantom/turned.nii.gz")
    found = read_labels(service.data / answer["mask_path"])
    assert found.same_grid(turned)
    truth = reorient(phantom.labels(grid, "A"), ORIENTATIONS[37])
    for number in (names.KIDNEY_RIGHT, names.KIDNEY_LEFT):
        assert _dice(found.mask([number]), truth.mask([number])) > 0.85


def test_information_is_there(service: Any) -> None:
    """Labels, operations, bundles, health, docs; the nine operations are all offered."""
    offered = {o["name"] for o in service.get("operations").json()}
    assert {
        *(f"inference/{t}" for t in IMAGES), "smoothing/base",
        *(f"postprocess/{o}" for o in ("fat", "sample", "vessel", "ureter")),
    } <= offered  # fmt: skip
    assert {b["task"] for b in service.get("bundles").json()} == set(IMAGES)
    assert service.get("labels").json()["tumor"]["number"] == names.TUMOR
    for page in ("healthz", "readyz", "docs", "openapi.json"):
        assert service.get(page).status_code == 200, page


def test_only_loopback_listens(service: Any, family: Any) -> None:
    """No socket of any of its processes is open to the network."""
    if not service.pid:
        pytest.skip("an installation elsewhere")
    own = _sockets(family(service.pid))
    listening = [line for line in _listening() if line[1] & own]
    assert len(listening) >= 4
    for address, _ in listening:
        assert address in ("0100007F", "00000000000000000000000001000000"), address


def _sockets(members: set[int]) -> set[int]:
    """The inodes of all sockets of these processes."""
    inodes = set()
    for member in members:
        for handle in Path(f"/proc/{member}/fd").iterdir():
            target = str(handle.readlink()) if handle.is_symlink() else ""
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes


def _listening() -> list[tuple[str, set[int]]]:
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found.append((fields[1].split(":")[0], {int(fields[9])}))
    return found
