"""The chart rendered by Helm's own engine, without a cluster, and taken apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from chart import helm
from chart.helm import CHART

ROOT = Path(__file__).resolve().parents[2]
CI = {p.name.removesuffix("-values.yaml"): p for p in sorted((CHART / "ci").glob("*-values.yaml"))}
NAME, NAMESPACE = "nephra", "hospital"

Object = dict[str, Any]

#: What KServe's predictor has beside the fields of a pod.
_EXTENSIONS = (
    "minReplicas",
    "maxReplicas",
    "scaleMetric",
    "scaleTarget",
    "autoScaling",
    "timeout",
    "deploymentStrategy",
    "labels",
    "annotations",
)


class _Loader(yaml.CSafeLoader):
    """YAML that refuses a key given twice, which would hide one of the values."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"given twice: {sorted(twice)}")
        return super().construct_mapping(node, deep)


def values(name: str) -> Object:
    """The values of one file under ci/."""
    loaded: Object = yaml.safe_load(CI[name].read_text(encoding="utf-8"))
    return loaded


def texts(
    given: Mapping[str, Any] | None = None, name: str = NAME, namespace: str = NAMESPACE
) -> dict[str, str]:
    """Template to rendered text; rendered once for the same values.

    Raises:
        Refused: the values are refused.
    """
    return dict(_rendered(json.dumps(given or {}), name, namespace))


@cache
def _rendered(given: str, name: str, namespace: str) -> dict[str, str]:
    return helm.render(json.loads(given), name, namespace)


def parse(text: str) -> list[Object]:
    """The objects of a YAML stream."""
    return [o for o in yaml.load_all(text, _Loader) if o]


def render(
    given: Mapping[str, Any] | None = None, name: str = NAME, namespace: str = NAMESPACE
) -> list[Object]:
    """All objects, hooks too.

    Raises:
        Refused: the values are refused.
    """
    rendered = texts(given, name, namespace)
    return [o for t in sorted(rendered) if t.endswith(".yaml") for o in parse(rendered[t])]


@cache
def of_ci(name: str) -> tuple[Object, ...]:
    """The objects of a file under ci/; not to be changed."""
    return tuple(render(values(name)))


def find(objects: list[Object] | tuple[Object, ...], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = (o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)
    return found


def kinds(objects: list[Object] | tuple[Object, ...], kind: str) -> list[Object]:
    """All objects of a kind."""
    return [o for o in objects if o["kind"] == kind]


@dataclass(frozen=True)
class Pod:
    """A pod that the objects will make.

    Args:
        owner: kind/name of the object.
        labels: those of the pod.
        annotations: those of the pod.
        spec: its PodSpec.
        serves: whether it is a server, and not a hook that ends.
    """

    owner: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Object
    serves: bool

    @property
    def containers(self) -> list[Object]:
        """Init containers too."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def pods(objects: list[Object] | tuple[Object, ...]) -> Iterator[Pod]:
    """What Deployments, InferenceServices, Jobs and Pods will run."""
    for o in objects:
        owner, spec = f"{o['kind']}/{o['metadata']['name']}", o.get("spec", {})
        if o["kind"] == "Pod":
            meta = o["metadata"]
            yield Pod(owner, meta["labels"], meta.get("annotations", {}), spec, serves=False)
        elif o["kind"] in ("Deployment", "Job"):
            meta = spec["template"]["metadata"]
            yield Pod(
                owner,
                meta["labels"],
                meta.get("annotations", {}),
                spec["template"]["spec"],
                serves=o["kind"] == "Deployment",
            )
        elif o["kind"] == "InferenceService":
            yield _of_kserve(o, owner)


def _of_kserve(o: Object, owner: str) -> Pod:
    """KServe gives a pod the labels of both, the predictor's winning."""
    predictor = o["spec"]["predictor"]
    of = o["metadata"]
    return Pod(
        owner,
        {**of["labels"], **predictor.get("labels", {})},
        {**of.get("annotations", {}), **predictor.get("annotations", {})},
        {k: v for k, v in predictor.items() if k not in _EXTENSIONS},
        serves=True,
    )
