"""Whether an object is what its API takes, with no member that it does not know."""

from __future__ import annotations

import importlib.resources
import json
import re
from functools import cache
from typing import Any

import kserve
import kubernetes.client
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource

from chart.rendering import Object, pods

OLDEST, NEWEST = "1.32", "1.37"

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _closed(required: str, **members: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": members,
    }


def _list(item: Any) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": item}


_STRING, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
_META = _closed(
    "name namespace labels", name=_STRING, namespace=_STRING, labels=_TEXTS, annotations=_TEXTS
)
_DURATION = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}

#: What the chart uses of APIs that come as CRDs; no Python package holds their schemas.
_SPECS: dict[str, Any] = {
    "gateway.networking.k8s.io/v1 HTTPRoute": _closed(
        "parentRefs rules",
        parentRefs=_list(
            _closed(
                "name",
                name=_STRING,
                namespace=_STRING,
                sectionName=_STRING,
                port=_COUNT,
                group=_STRING,
                kind=_STRING,
            )
        ),
        hostnames=_list(_STRING),
        rules=_list(
            _closed(
                "backendRefs",
                matches=_list(
                    _closed(
                        "path",
                        path=_closed(
                            "type value", type={"enum": ["PathPrefix", "Exact"]}, value=_STRING
                        ),
                    )
                ),
                backendRefs=_list(_closed("name port", name=_STRING, port=_COUNT)),
                timeouts=_closed("", request=_DURATION, backendRequest=_DURATION),
            )
        ),
    ),
    "monitoring.coreos.com/v1 ServiceMonitor": _closed(
        "selector endpoints",
        selector=_closed("matchLabels", matchLabels=_TEXTS),
        endpoints=_list(
            _closed(
                "port",
                port=_STRING,
                path=_STRING,
                interval={"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
            )
        ),
    ),
    "monitoring.coreos.com/v1 PrometheusRule": _closed(
        "groups",
        groups=_list(
            _closed(
                "name rules",
                name=_STRING,
                rules=_list(
                    _closed(
                        "alert expr",
                        alert=_STRING,
                        expr=_STRING,
                        labels=_TEXTS,
                        annotations=_TEXTS,
                        **{"for": {"type": "string", "pattern": "^[0-9]+(s|m|h)$"}},
                    )
                ),
            )
        ),
    ),
    "keda.sh/v1alpha1 ScaledObject": _closed(
        "scaleTargetRef triggers",
        scaleTargetRef=_closed(
            "name", name=_STRING, apiVersion=_STRING, kind=_STRING, envSourceContainerName=_STRING
        ),
        minReplicaCount=_COUNT,
        maxReplicaCount=_COUNT,
        pollingInterval=_COUNT,
        cooldownPeriod=_COUNT,
        triggers=_list(
            _closed(
                "type metadata",
                type=_STRING,
                name=_STRING,
                metadata=_TEXTS,
                useCachedMetrics={"type": "boolean"},
                metricType={"enum": ["Utilization", "AverageValue", "Value"]},
                authenticationRef=_closed("name", name=_STRING, kind=_STRING),
            )
        ),
    ),
}


def wrongs(o: Object, version: str) -> list[str]:
    """What is wrong with an object, by the schema of its API.

    Args:
        o: the object.
        version: of Kubernetes.
    """
    kind = f"{o['apiVersion']} {o['kind']}"
    if kind in _SPECS:
        schema = _closed(
            "apiVersion kind metadata spec",
            apiVersion=_STRING,
            kind=_STRING,
            metadata=_META,
            spec=_SPECS[kind],
        )
        return _errors(Draft202012Validator(schema), o)
    if o["kind"] == "InferenceService":
        (pod,) = pods([o])
        as_pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}, "spec": pod.spec}
        return [*unknown(o, "V1beta1InferenceService"), *wrongs(as_pod, version)]
    return _errors(_validator(version, o["kind"], o["apiVersion"]), o)


def _errors(validator: Any, o: Object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(o)]


@cache
def _validator(version: str, kind: str, api_version: str) -> Any:
    """Kubernetes' own schema, closed."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = _schema(version, f"{kind.lower()}-{group}")
    return Draft202012Validator(schema, registry=_definitions(version) @ Registry())


@cache
def _definitions(version: str) -> Any:
    return Resource.from_contents(_schema(version, "_definitions"))


def _schema(version: str, name: str) -> Any:
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"
    path = folder / f"v{version}.0-local-strict" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "ResourceQuantity": (str, int, float),
    "IntOrString": (int, str),
    "datetime": (str,),
    "object": (object,),
}


def unknown(value: Any, kind: str, path: str = "$") -> list[str]:
    """Members that the models of the KServe and Kubernetes SDKs do not have, or of another type.

    Args:
        value: the object, or a part of it.
        kind: the SDK's name of its type.
        path: where it is.
    """
    if listed := re.fullmatch(r"[lL]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [w for i, v in enumerate(value) for w in unknown(v, listed[1], f"{path}[{i}]")]
    if mapped := re.fullmatch(r"[dD]ict[(\[]str, (.+)[)\]]", kind):
        if not isinstance(value, dict):
            return [f"{path} is no mapping"]
        return [w for k, v in value.items() for w in unknown(v, mapped[1], f"{path}.{k}")]
    if kind in _SCALARS:
        fits = isinstance(value, _SCALARS[kind]) and (kind != "int" or value is not True)
        return [] if fits else [f"{path} is no {kind}"]
    return _members(value, _model(kind), path)


def _members(value: Any, model: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is no {model.__name__}"]
    types = {model.attribute_map[a]: kind for a, kind in model.openapi_types.items()}
    found = [f"{path}.{key} is unknown" for key in value if key not in types]
    return found + [
        w for k, v in value.items() if k in types for w in unknown(v, types[k], f"{path}.{k}")
    ]


def _model(kind: str) -> Any:
    """KServe's SDK names some models of Kubernetes by their whole path."""
    short = re.sub(r"^K8sIoApi[A-Z][a-z]+(?=V[0-9])", "", kind)
    return getattr(kserve, kind, None) or getattr(kubernetes.client, short)
