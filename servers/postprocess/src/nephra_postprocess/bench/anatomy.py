"""What `fat` and `sample` cost, and how well they fit real patients."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any, Literal

import numpy as np

from nephra_contract import labels as names
from nephra_contract.labels import LabelSpace
from nephra_contract.nifti import read_image, read_labels
from nephra_contract.progress import Progress
from nephra_contract.sides import assign_sides, midline_x_mm
from nephra_contract.volume import LabelMap, Volume
from nephra_postprocess.atlas import template as templates
from nephra_postprocess.density import FAT_HU
from nephra_postprocess.operations.fat import Fat, add_fat
from nephra_postprocess.operations.sample import Sample, sample
from nephra_serving.figures import Cases, Figure, measured

#: 150 MB.
_FAT_ADDED_MIB = 143.0
#: CT, its mask, the mask's table, and the goals by side, where one is set.
_CTS: tuple[tuple[str, str, LabelSpace, dict[str, float]], ...] = (
    ("ts_example_ct_sm", "ts_example_ct_sm_seg_v2", "totalseg_v2", {"right": 0.72, "left": 0.88}),
    ("ts_example_ct", "ts_example_ct_seg_v1", "totalseg_v1", {}),
)
#: By quality: CPU seconds, and Dice of the carried kidneys.
_SAMPLE_GOALS = {"fast": (4.0, 0.85), "high": (7.0, 0.90)}


def fat(cases: Cases) -> Iterator[Figure]:
    """What fat costs on a large mask, and how much of what it draws blindly is fat in a CT."""
    large = cases.drawn / "large" / "fat.nii.gz"
    if large.is_file():
        mask = read_labels(large)
        topic = "fat, {} x {} x {}".format(*mask.shape)
        _, cost = measured(_fat_report, mask)
        yield Figure(topic, "CPU time", cost.cpu_s, "CPU s", 2.0, "less")
        yield Figure(topic, "added memory", cost.added_mib, "MiB", _FAT_ADDED_MIB, "less")
    if cases.real is None:
        return
    for ct, mask_name, space, goals in _CTS:
        folder = cases.real / "ct"
        mask = assign_sides(read_labels(folder / f"{mask_name}.nii.gz", space))
        image = read_image(folder / f"{ct}.nii.gz")
        fatty = folder / f"{ct}_torso_fat.nii.gz"
        extra = read_labels(fatty, {"subcutaneous_fat": 1}) if fatty.is_file() else None
        yield from _fat_shares(f"fat, {ct}", mask, image, extra, goals)


def sample_(cases: Cases) -> Iterator[Figure]:
    """What a sampled anatomy costs, and how well the template's kidneys fit the patients'."""
    found = [] if cases.real is None else sorted((cases.real / "masks" / "kits23").glob("*.nii.gz"))
    masks = [read_labels(path, "kits") for path in (found[:2] if cases.quick else found)]
    if not masks:
        yield Figure("sample", "carried kidneys", None, note="no real masks were given")
        return
    templates.packaged()
    for quality, (cpu_s, dice) in _SAMPLE_GOALS.items():
        runs = [measured(_sample_report, mask, quality) for mask in masks]
        topic, count = f"sample, quality {quality}", len(masks)
        fits = [report["kidney_dice"]["median"] for report, _ in runs]
        yield Figure(topic, "CPU time, slowest", max(c.cpu_s for _, c in runs), "CPU s", cpu_s,
                     "less", count)  # fmt: skip
        yield Figure(topic, "CPU time, median", median(c.cpu_s for _, c in runs), "CPU s", None,
                     "less", count)  # fmt: skip
        yield Figure(topic, "Dice of carried kidneys, median", median(fits), "", dice,
                     count=count)  # fmt: skip
        yield Figure(topic, "Dice of carried kidneys, lowest", min(fits), count=count)
        yield Figure(topic, "Jacobian, lowest", min(r["jacobian_min"] for r, _ in runs), "",
                     1e-6, count=count)  # fmt: skip


def _fat_report(mask: LabelMap) -> dict[str, Any]:
    return dict(add_fat(mask, None, Fat(), Progress()).report)


def _sample_report(mask: LabelMap, quality: Literal["fast", "high"]) -> dict[str, Any]:
    return dict(sample(mask, None, Sample(quality=quality), Progress()).report)


def _fat_shares(
    topic: str, mask: LabelMap, image: Volume, torso_fat: LabelMap | None, goals: dict[str, float]
) -> Iterator[Figure]:
    """By side, the share of what is drawn without the CT that is fat in it."""
    drawn = add_fat(mask, None, Fat(), Progress()).value.voxels == names.PERIRENAL_FAT
    drawn &= mask.voxels != names.PERIRENAL_FAT
    x_mm = mask.to_world(np.argwhere(drawn))[:, 0]
    right = x_mm > midline_x_mm(mask)
    hu = image.voxels[drawn]
    measures = {"by HU": (hu >= FAT_HU[0]) & (hu <= FAT_HU[1])}
    if torso_fat is not None:
        measures["in the mask of torso fat"] = torso_fat.voxels[drawn] > 0
    for how, is_fat in measures.items():
        for side, here in (("right", right), ("left", ~right)):
            yield Figure(topic, f"fat {how}, {side}", float(is_fat[here].mean()), "",
                         goals.get(side))  # fmt: skip
