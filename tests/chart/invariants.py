"""What holds for all objects of every installation: each rule says what breaks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from chart.rendering import NAMESPACE, Object, Pod, kinds, pods

Objects = Sequence[Object]
Rule = Callable[[Objects], Iterator[str]]

UID = 10001
#: What the restricted profile allows, image volumes too.
_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_PINNED = re.compile(r"^[^@]+(:(?!latest(@|$))[A-Za-z0-9_][\w.-]*|@sha256:[0-9a-f]{64})$")
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_OWN = "app.kubernetes.io/"


def _containers(objects: Objects) -> Iterator[tuple[str, Object]]:
    for pod in pods(list(objects)):
        for container in pod.containers:
            yield f"{pod.owner} {container['name']}", container


def resources(objects: Objects) -> Iterator[str]:
    """Every container, init containers too, asks for CPU and memory and is bounded in both."""
    for where, container in _containers(objects):
        for bound in ("requests", "limits"):
            got = container.get("resources", {}).get(bound, {})
            for amount in {"cpu", "memory"} - set(got):
                yield f"{where} has no {bound} of {amount}"


def probes(objects: Objects) -> Iterator[str]:
    """Every server says when it has started, is ready, and lives, by HTTP on a port of its own."""
    for pod in pods(list(objects)):
        for container in pod.spec["containers"] if pod.serves else ():
            gateway = pod.labels[f"{_OWN}component"] == "gateway"
            ready, live = ("/healthz", "/livez") if gateway else ("/readyz", "/healthz")
            wanted = {"startupProbe": ready, "readinessProbe": ready, "livenessProbe": live}
            ports = {p["name"] for p in container.get("ports", ())}
            for name, path in wanted.items():
                asked = container.get(name, {}).get("httpGet", {})
                if asked.get("path") != path or asked.get("port") not in ports:
                    yield f"{pod.owner} {container['name']}: {name} does not ask {path}"


def non_root(objects: Objects) -> Iterator[str]:
    """Every pod runs as our user, under the runtime's seccomp profile."""
    wanted = {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "fsGroup": UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for pod in pods(list(objects)):
        if pod.spec.get("securityContext") != wanted:
            yield f"{pod.owner}: {pod.spec.get('securityContext')}"


def closed_containers(objects: Objects) -> Iterator[str]:
    """Every container has a read-only root, no capability, and gains no privilege."""
    wanted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for where, container in _containers(objects):
        if container.get("securityContext") != wanted:
            yield f"{where}: {container.get('securityContext')}"


def pinned(objects: Objects) -> Iterator[str]:
    """Every image has a tag that is not `latest`, or a digest; image volumes too."""
    for where, container in _containers(objects):
        if not _PINNED.match(container["image"]):
            yield f"{where}: {container['image']}"
    for pod in pods(list(objects)):
        for volume in pod.spec.get("volumes", ()):
            if "image" in volume and not _PINNED.match(volume["image"]["reference"]):
                yield f"{pod.owner}: {volume['image']['reference']}"


def covered(objects: Objects) -> Iterator[str]:
    """Every pod is denied everything both ways, but for what other policies open."""
    for pod in pods(list(objects)):
        for way, rules in (("Ingress", "ingress"), ("Egress", "egress")):
            if not any(
                way in p["spec"]["policyTypes"]
                and rules not in p["spec"]
                and _selects(p["spec"]["podSelector"], pod)
                for p in kinds(list(objects), "NetworkPolicy")
            ):
                yield f"{pod.owner} is not denied {way}"


def names(objects: Objects) -> Iterator[str]:
    """Every name fits a DNS label, also with what KServe makes of it."""
    for o in objects:
        name = o["metadata"]["name"]
        if not _NAME.match(name):
            yield f"{o['kind']}/{name}"
        # KServe labels the pods so, and begins a host with name and namespace.
        if o["kind"] == "InferenceService" and len(f"isvc.{name}-predictor") > 63:
            yield f"{name}: KServe's label is too long"
    for pod in pods(list(objects)):
        for key, value in pod.labels.items():
            if len(value) > 63 or len(key.rpartition("/")[2]) > 63:
                yield f"{pod.owner}: {key}={value}"


def no_token(objects: Objects) -> Iterator[str]:
    """No pod and no account gets a token of the API server."""
    for pod in pods(list(objects)):
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield pod.owner
    for account in kinds(list(objects), "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield account["metadata"]["name"]


def nothing_of_the_host(objects: Objects) -> Iterator[str]:
    """No pod shares network, processes, ports or files with its node; no volume but the allowed."""
    for pod in pods(list(objects)):
        for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"):
            if key in pod.spec:
                yield f"{pod.owner}: {key}"
        for volume in pod.spec.get("volumes", ()):
            if set(volume) - {"name"} - _VOLUMES:
                yield f"{pod.owner}: volume {volume}"
        if any("hostPort" in p for c in pod.containers for p in c.get("ports", ())):
            yield f"{pod.owner}: hostPort"
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.owner}: service links"


def volumes(objects: Objects) -> Iterator[str]:
    """Every mount has its volume and every volume a mount; what lies on the node is bounded."""
    for pod in pods(list(objects)):
        defined = [v["name"] for v in pod.spec.get("volumes", ())]
        mounted = [m["name"] for c in pod.containers for m in c.get("volumeMounts", ())]
        if len(set(defined)) < len(defined) or set(defined) != set(mounted):
            yield f"{pod.owner}: {defined} are defined, {mounted} mounted"
        for volume in pod.spec.get("volumes", ()):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{pod.owner}: {volume['name']} has no sizeLimit"
        for container in pod.containers:
            paths = [m["mountPath"] for m in container.get("volumeMounts", ())]
            if len(set(paths)) < len(paths):
                yield f"{pod.owner} {container['name']}: a path is mounted twice"


def environment(objects: Objects) -> Iterator[str]:
    """No variable is given twice, which a server-side apply refuses."""
    for where, container in _containers(objects):
        given = [e["name"] for e in container.get("env", ())]
        if len(set(given)) < len(given):
            yield f"{where}: {given}"


def references(objects: Objects) -> Iterator[str]:
    """What a pod refers to: gives all that is not among the objects, as Kind/name."""
    there = {f"{o['kind']}/{o['metadata']['name']}" for o in objects}
    wanted = set()
    for pod in pods(list(objects)):
        wanted |= {f"ServiceAccount/{pod.spec['serviceAccountName']}"}
        wanted |= {f"Secret/{s['name']}" for s in pod.spec.get("imagePullSecrets", ())}
        wanted |= set(_volume_sources(pod))
        wanted |= {r for c in pod.containers for e in c.get("env", ()) for r in _env_sources(e)}
    wanted |= {
        f"Secret/{t['secretName']}"
        for i in kinds(list(objects), "Ingress")
        for t in i["spec"].get("tls", ())
    }
    yield from sorted(wanted - there)


def _volume_sources(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.get("volumes", ()):
        if "persistentVolumeClaim" in volume:
            yield f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}"
        if "secret" in volume:
            yield f"Secret/{volume['secret']['secretName']}"
        if "configMap" in volume:
            yield f"ConfigMap/{volume['configMap']['name']}"


def _env_sources(variable: Object) -> Iterator[str]:
    source = variable.get("valueFrom", {})
    if "secretKeyRef" in source:
        yield f"Secret/{source['secretKeyRef']['name']}"
    if "configMapKeyRef" in source:
        yield f"ConfigMap/{source['configMapKeyRef']['name']}"


def selectors(objects: Objects) -> Iterator[str]:
    """Services, budgets and Deployments select the pods of one owner; policies some pod."""
    all_pods = list(pods(list(objects)))
    for o in objects:
        where = f"{o['kind']}/{o['metadata']['name']}"
        if o["kind"] in ("Service", "PodDisruptionBudget", "Deployment"):
            found = {p.owner for p in all_pods if _selects(_selector(o), p)}
            if len(found) != 1 or (o["kind"] == "Deployment" and found != {where}):
                yield f"{where} selects {sorted(found)}"
        if o["kind"] == "NetworkPolicy":
            for selector in [o["spec"]["podSelector"], *_own_peers(o)]:
                if not any(_selects(selector, p) for p in all_pods):
                    yield f"{where}: {selector} selects nothing"


def _selector(o: Object) -> Object:
    selector = o["spec"]["selector"]
    return selector if o["kind"] != "Service" else {"matchLabels": selector}


def _own_peers(policy: Object) -> Iterator[Object]:
    for way, end in (("ingress", "from"), ("egress", "to")):
        for rule in policy["spec"].get(way, ()):
            for peer in rule.get(end, ()):
                if "namespaceSelector" not in peer and "podSelector" in peer:
                    yield peer["podSelector"]


def targets(objects: Objects) -> Iterator[str]:
    """Scalers have their Deployment, routes their Service and its port."""
    made = {o["metadata"]["name"] for o in kinds(list(objects), "Deployment")}
    made |= {f"{o['metadata']['name']}-predictor" for o in kinds(list(objects), "InferenceService")}
    services = {s["metadata"]["name"]: s["spec"]["ports"] for s in kinds(list(objects), "Service")}
    for o in objects:
        if o["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            name = o["spec"]["scaleTargetRef"]["name"]
            if name not in made:
                yield f"{o['kind']} scales {name}"
        for name, port in _backends(o):
            if port not in {v for p in services.get(name, ()) for v in (p["name"], p["port"])}:
                yield f"{o['kind']} leads to {name}:{port}"


def _backends(o: Object) -> Iterator[tuple[str, Any]]:
    if o["kind"] == "Ingress":
        for rule in o["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield service["name"], next(iter(service["port"].values()))
    if o["kind"] == "HTTPRoute":
        for rule in o["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield backend["name"], backend["port"]


def belongs(objects: Objects) -> Iterator[str]:
    """Every object says in its labels whose it is, and stands in the release's namespace."""
    for o in objects:
        meta = o["metadata"]
        labels = meta.get("labels", {})
        if meta.get("namespace") != NAMESPACE or not all(
            labels.get(f"{_OWN}{key}") for key in ("name", "instance", "managed-by", "part-of")
        ):
            yield f"{o['kind']}/{meta['name']}"


def _selects(selector: Object, pod: Pod) -> bool:
    wanted = selector.get("matchLabels", {})
    return all(pod.labels.get(k) == v for k, v in wanted.items())


RULES: tuple[Rule, ...] = (
    resources,
    probes,
    non_root,
    closed_containers,
    pinned,
    covered,
    names,
    no_token,
    nothing_of_the_host,
    volumes,
    environment,
    references,
    selectors,
    targets,
    belongs,
)
