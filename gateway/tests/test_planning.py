from __future__ import annotations

from typing import Any

import pytest

from nephra_contract.errors import NephraError, OperationUnknown, PhaseMissing, RequestInvalid
from nephra_contract.labels import numbers
from nephra_gateway.messages import CaseRequest
from nephra_gateway.planning import Plan, plan

OFFERED = frozenset(
    {
        "inference",
        *(f"inference/{t}" for t in ("totalseg", "tumor", "vessel", "ureter")),
        *(f"postprocess/{s}" for s in ("sample", "vessel", "ureter", "fat", "merge")),
        "smoothing/base",
    }
)


def planned(phases: str, structures: list[str] | None = None, **more: Any) -> Plan:
    """The plan for these phases, each a file of its own name."""
    offered = more.pop("offered", OFFERED)
    request = CaseRequest(
        phases={p: f"{p}.nii.gz" for p in phases},  # type: ignore[misc]
        structures=structures,
        **more,
    )
    return plan(request, offered)


@pytest.mark.parametrize(
    ("phases", "tasks", "reference"),
    [
        ("A", ["totalseg", "tumor"], "A"),
        ("P", ["totalseg", "tumor"], "P"),
        ("D", ["totalseg", "tumor", "ureter"], "D"),
        ("AP", ["totalseg", "tumor", "vessel"], "A"),
        ("AD", ["totalseg", "tumor", "ureter"], "A"),
        ("PD", ["totalseg", "tumor", "ureter"], "P"),
        ("APD", ["totalseg", "tumor", "vessel", "ureter"], "A"),
    ],
)
def test_phases_decide_which_models_run(phases: str, tasks: list[str], reference: str) -> None:
    """One request for all models that the phases allow, totalseg first."""
    made = planned(phases)
    assert made.step("inference").members["tasks"] == tasks
    assert made.reference == reference
    names = [s.name for s in made.steps]
    assert ("vessel-joined" in names) == ("vessel" in tasks)
    assert ("ureter-joined" in names) == ("ureter" in tasks)


@pytest.mark.parametrize("phases", ["A", "P", "D", "AP", "AD", "PD", "APD"])
def test_each_step_stands_on_earlier_ones(phases: str) -> None:
    """The steps are in an order in which they could run one by one, without cycles."""
    there: set[str] = set()
    for step in planned(phases).steps:
        assert set(step.masks) <= there
        assert step.name not in there
        there |= set(step.results)


def test_images_that_no_model_needs_are_not_read() -> None:
    """Without vessels the portal phase is not read when the arterial one is there."""
    assert planned("APD", ["kidney", "ureter"]).phases == ("A", "D")
    assert planned("APD", ["ureter"]).phases == ("D",)
    assert planned("APD").phases == ("A", "P", "D")


def test_the_merge_takes_each_structure_from_its_model() -> None:
    """Kidney and tumour from tumor, vessels joined, ureters joined, fat from fat."""
    merge = planned("APD").step("merge")
    took = dict(zip(merge.masks, merge.members["take"], strict=True))
    assert list(took) == ["totalseg", "tumor", "vessel-joined", "ureter-joined", "fat"]
    assert {"kidney", "kidney_left", "tumor", "cyst"} <= set(took["tumor"])
    assert {"liver", "spine", "ribs", "urinary_bladder"} <= set(took["totalseg"])
    assert not {"kidney_left", "aorta", "inferior_vena_cava"} & set(took["totalseg"])
    assert took["vessel-joined"] == ["artery", "vein"]
    assert set(took["ureter-joined"]) == {"ureter", "ureter_right", "ureter_left", "renal_pelvis"}
    assert took["fat"] == ["perirenal_fat"]


def test_without_the_vessel_model_totalseg_keeps_its_great_vessels() -> None:
    """Aorta and vena cava are dropped only where better ones take their place."""
    took = planned("A").step("merge").members["take"]
    assert {"aorta", "inferior_vena_cava"} <= set(took[0])


def test_without_the_tumor_model_totalseg_gives_the_kidneys() -> None:
    """A kidney from the coarser model is better than none."""
    made = planned("A", offered=OFFERED - {"inference/tumor"})
    assert made.step("inference").members["tasks"] == ["totalseg"]
    assert "kidney_left" in made.step("merge").members["take"][0]
    assert made.step("fat").masks == ("totalseg",)


def test_the_preview_waits_for_totalseg_alone_and_may_fail() -> None:
    """Sample, then its surface; neither is needed for the scene."""
    made = planned("APD")
    assert made.step("sample").masks == ("totalseg",)
    assert made.step("preview").masks == ("sample",)
    assert not made.step("sample").needed
    assert not made.step("preview").needed
    needed = [s for s in made.steps if s.needed]
    assert not {"sample", "preview"} & {m for s in needed for m in s.masks}


def test_each_model_has_surfaces_of_its_own_for_who_waits() -> None:
    """Of its joined mask, and of what the scene takes from it; nothing stands on them."""
    made = planned("APD")
    for task, mask in (
        ("tumor", "tumor"),
        ("vessel", "vessel-joined"),
        ("ureter", "ureter-joined"),
    ):
        step = made.step(f"{task}-surfaces")
        assert step.masks == (mask,)
        assert step.shown
        assert not step.needed
        assert step.name not in {m for s in made.steps for m in s.masks}
    assert made.step("ureter-surfaces").members["structures"][0].startswith("ureter")
    request = CaseRequest(phases={"A": "A.nii.gz", "D": "D.nii.gz"}, preview=False)
    assert not [s for s in plan(request, OFFERED).steps if s.shown]


@pytest.mark.parametrize(
    ("structures", "tasks", "steps"),
    [
        (["tumor"], ["tumor"], ["inference", "merge", "scene"]),
        (["kidneys", "tumour", "cysts"], ["tumor"], ["inference", "merge", "scene"]),
        (["artery"], ["vessel"], ["inference", "vessel-joined", "merge", "scene"]),
        (["ureter"], ["ureter"], ["inference", "ureter-joined", "merge", "scene"]),
        (
            ["fat"],
            ["totalseg", "tumor"],
            ["inference", "sample", "preview", "fat", "merge", "scene"],
        ),
        (
            ["organs"],
            ["totalseg"],
            ["inference", "sample", "preview", "merge", "scene"],
        ),
        (["aorta"], ["totalseg"], ["inference", "sample", "preview", "merge", "scene"]),
    ],
)
def test_only_what_the_wanted_structures_need_is_run(
    structures: list[str], tasks: list[str], steps: list[str]
) -> None:
    """Each structure brings its model and the steps behind it, nothing else."""
    made = planned("APD", structures)
    assert made.step("inference").members["tasks"] == tasks
    assert [s.name for s in made.steps] == steps


def test_only_wanted_structures_come_into_the_scene() -> None:
    """The merge takes the wanted labels alone; a named aorta stays beside the arteries."""
    assert planned("A", ["liver"]).step("merge").members["take"] == [["liver"]]
    both = planned("AP", ["aorta", "artery"]).step("merge")
    assert both.members["take"] == [["aorta"], ["artery"]]


@pytest.mark.parametrize(
    ("phases", "structures", "missing"),
    [
        ("A", ["artery"], ["P"]),
        ("P", ["vein"], ["A"]),
        ("D", ["vessels"], ["A", "P"]),
        ("AP", ["ureter"], ["D"]),
        ("A", ["kidney", "ureters"], ["D"]),
    ],
)
def test_a_missing_phase_is_named(phases: str, structures: list[str], missing: list[str]) -> None:
    """The error says which phase is needed, and for what."""
    with pytest.raises(PhaseMissing) as refused:
        planned(phases, structures)
    assert refused.value.extra["phases"] == missing
    assert all(p in refused.value.detail for p in missing)


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"structures": ["kidney", "soul"]}, RequestInvalid),
        ({"bundles": {"vessel": "x"}}, RequestInvalid),
        ({"parameters": {"postprocess/ureter": {}}}, RequestInvalid),
        ({"structures": ["tumor"], "offered": OFFERED - {"inference/tumor"}}, OperationUnknown),
        ({"offered": frozenset({"inference"})}, OperationUnknown),
    ],
)
def test_what_cannot_be_planned_is_refused(more: dict[str, Any], kind: type[NephraError]) -> None:
    """Strangers and models that are not there are named before any work."""
    with pytest.raises(kind):
        planned("A", **more)


def test_parameters_and_bundles_reach_their_steps() -> None:
    """What the caller says about one step stands in that step's request."""
    made = planned(
        "AP",
        bundles={"tumor": "tumor-v1"},
        parameters={"postprocess/vessel": {"structures": ["artery"]}, "smoothing/base": {"x": 1}},
    )
    assert made.step("inference").members["bundles"] == {"tumor": "tumor-v1"}
    assert made.step("vessel-joined").members == {"structures": ["artery"]}
    assert made.step("scene").members == {"x": 1}
    assert made.step("preview").members["x"] == 1


def test_all_numbers_have_a_source() -> None:
    """Every label of the table is taken from exactly one mask when all is wanted."""
    took = planned("APD").step("merge").members["take"]
    flat = [name for names in took for name in names]
    assert len(flat) == len(set(flat))
    assert set(flat) == set(numbers()) - {"aorta", "inferior_vena_cava"}
