"""The pages about installing name only what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chart.pages import PAGES, wrong_examples, wrong_files, wrong_names, wrong_values
from chart.rendering import ROOT, pods, render


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_all_that_a_page_names_is_there(page: Path) -> None:
    """Values, values files that can be installed, files, links, make targets, objects."""
    text = page.read_text(encoding="utf-8")
    assert list(wrong_values(text)) == []
    assert list(wrong_examples(text)) == []
    assert list(wrong_files(text, page)) == []
    assert list(wrong_names(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "Set `gateway.replica`.",
        "Set `nnunet.gpu.counts: 2`.",
        "Set `gatway.replicas`.",
        "Set `autoscaling.modes`.",
        "helm install nephra charts/nephra --set persistence.claim=x",
        "helm install nephra charts/nephra --set-string gateway.podAnnotation.a=x",
    ],
)
def test_a_value_that_does_not_exist_is_found(text: str) -> None:
    """In a sentence and on the command line, at its beginning and its end."""
    assert len(list(wrong_values(text))) == 1


@pytest.mark.parametrize(
    "block",
    ["gatway: {replicas: 1}", "gateway: {replicas: one}", "ingress: {enabled: true}"],
)
def test_values_that_are_refused_are_found(block: str) -> None:
    """By the schema, and in a sentence of the templates."""
    assert len(list(wrong_examples(f"```yaml\n{block}\n```\n"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "see `ci/some-values.yaml`",
        "kubectl apply -f manifests/none.yaml",
        "[a page](none.md)",
        "[a page](kind.md#none)",
        "run `make none`",
    ],
)
def test_a_file_that_does_not_exist_is_found(text: str) -> None:
    """Links, their anchors and make targets too."""
    assert len(list(wrong_files(text, ROOT / "docs" / "how-to" / "upgrade.md"))) == 1


def test_an_object_that_nobody_makes_is_found() -> None:
    """Unless the page has said how to make it."""
    assert list(wrong_names("kubectl get secret nephra-token")) == ["secret nephra-token"]
    made = "kubectl create secret generic nephra-mine\nkubectl get secret nephra-mine"
    assert list(wrong_names(made)) == []


_UNITS = {"": 1.0, "m": 1e-3, "Mi": 2.0**-10, "Gi": 1.0}


def _sum(bound: str, resource: str, scaled: int) -> float:
    """Of all servers' pods, in cores or GiB, with so many pods of what scales."""
    total = 0.0
    for pod in pods(render()):
        if pod.serves:
            said = str(pod.spec["containers"][0]["resources"][bound][resource])
            number, unit = re.fullmatch(r"([\d.]+)(\w*)", said).groups()  # type: ignore[union-attr]
            scales = pod.labels["app.kubernetes.io/component"] in ("smoothing", "postprocess")
            total += float(number) * _UNITS[unit] * (scaled if scales else 1)
    return total


@pytest.mark.parametrize("scaled", [1, 4])
def test_the_quotas_of_the_page_are_the_charts(scaled: int) -> None:
    """What all pods ask for and are bounded by, at rest and with all replicas."""
    page = (ROOT / "docs" / "how-to" / "sizing.md").read_text(encoding="utf-8")
    asked = (
        f"{_sum('requests', 'cpu', scaled):.1f} CPU and {_sum('requests', 'memory', scaled):.1f}"
    )
    bound = (
        f"limits {_sum('limits', 'cpu', scaled):.0f} CPU, {_sum('limits', 'memory', scaled):.0f}"
    )
    assert f"{asked} GiB" in page
    assert f"{bound} GiB" in page
