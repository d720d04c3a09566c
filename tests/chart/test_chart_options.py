"""What single values do."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from chart.helm import CHART
from chart.rendering import Object, find, kinds, pods, render, values

DIGEST = "sha256:" + "a" * 64
COMPONENTS = ("gateway", "nnunet", "smoothing", "postprocess")


def _pod(component: str, given: dict[str, Any] | None = None) -> Object:
    (found,) = (
        p.spec for p in pods(render(given)) if p.labels["app.kubernetes.io/component"] == component
    )
    return found


def _env(spec: Object) -> dict[str, Any]:
    return {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}


def _image(**given: Any) -> str:
    image: str = _pod("smoothing", given)["containers"][0]["image"]
    return image


def test_images_are_named_by_registry_tag_and_digest() -> None:
    """Digest over tag, tag over the chart's version, own registry over the global one."""
    assert _image() == "nephra/smoothing:0.1.0"
    assert _image(smoothing={"image": {"tag": "7"}}) == "nephra/smoothing:7"
    assert (
        _image(smoothing={"image": {"tag": "7", "digest": DIGEST}}) == f"nephra/smoothing@{DIGEST}"
    )
    assert (
        _image(**{"global": {"imageRegistry": "r.example/m/"}})
        == "r.example/m/nephra/smoothing:0.1.0"
    )
    both = {"global": {"imageRegistry": "r.example"}, "smoothing": {"image": {"registry": "own"}}}
    assert _image(**both) == "own/nephra/smoothing:0.1.0"


def test_a_gpu_changes_image_engine_and_place() -> None:
    """And nothing else: the CPU's memory and cores are still asked for."""
    given = values("gpu")
    spec = _pod("nnunet", given)
    container = spec["containers"][0]
    assert container["image"] == "nephra/nnunet-gpu:0.1.0"
    assert (_env(spec)["NEPHRA_BACKEND"], _env(spec)["NEPHRA_DEVICE"]) == ("torch", "cuda")
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert spec["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    others = [_pod(c, given) for c in ("smoothing", "postprocess", "gateway")]
    assert not any("nodeSelector" in o or "tolerations" in o for o in others)


def test_a_gpu_node_can_run_the_cpu_engine() -> None:
    """Image, engine and tag by values, beside a node selector of one's own."""
    given = {
        "nnunet": {
            "gpu": {
                "enabled": True,
                "repository": "nephra/nnunet",
                "backend": "openvino",
                "device": "cpu",
                "count": 2,
            },
            "image": {"tag": "dev"},
            "nodeSelector": {"zone": "a"},
            "tolerations": [{"operator": "Exists"}],
        }
    }
    spec = _pod("nnunet", given)
    assert spec["containers"][0]["image"] == "nephra/nnunet:dev"
    assert _env(spec)["NEPHRA_BACKEND"] == "openvino"
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true", "zone": "a"}
    assert len(spec["tolerations"]) == 2


def test_without_a_gpu_the_engine_is_openvino() -> None:
    """On any node."""
    spec = _pod("nnunet")
    assert spec["containers"][0]["image"] == "nephra/nnunet:0.1.0"
    assert (_env(spec)["NEPHRA_BACKEND"], _env(spec)["NEPHRA_DEVICE"]) == ("openvino", "cpu")
    assert "nodeSelector" not in spec


def test_bundles_come_from_everywhere_in_order() -> None:
    """A model is added by one entry: demo, a claim, an image copied, an image mounted."""
    spec = _pod("nnunet", values("full"))
    assert _env(spec)["NEPHRA_BUNDLES"] == (
        "/opt/nephra/bundles:/bundles/1/nnunet/2026:/bundles/2:/bundles/3/bundles"
    )
    sources = {v["name"]: v for v in spec["volumes"]}
    claim = sources["bundles-1"]["persistentVolumeClaim"]
    assert claim == {"claimName": "trained-models", "readOnly": True}
    assert "emptyDir" in sources["bundles-2"]
    assert sources["bundles-3"]["image"]["reference"] == "registry.example.org/models/ureters:3"
    (copy,) = spec["initContainers"]
    assert copy["image"] == "registry.example.org/models/kidneys:3"
    assert {e["name"]: e["value"] for e in copy["env"]} == {"FROM": "/bundles", "TO": "/bundles/2"}
    mounts = {m["name"]: m for m in spec["containers"][0]["volumeMounts"]}
    assert all(mounts[f"bundles-{n}"]["readOnly"] for n in (1, 2, 3))
    assert not any(
        "bundles" in m["name"]
        for c in COMPONENTS[2:]
        for m in _pod(c)["containers"][0]["volumeMounts"]
    )


def test_a_claim_is_mounted_once() -> None:
    """A pod that mounts it as two volumes can wait for ever: bundles in the data root have none."""
    claims = [{"name": "nephra-data", "path": "models"}, {"name": "m", "path": "a"}, {"name": "m"}]
    spec = _pod("nnunet", {"nnunet": {"bundles": [{"claim": c} for c in claims]}})
    assert _env(spec)["NEPHRA_BUNDLES"] == "/data/models:/bundles/1/a:/bundles/1"
    mounted = [
        v["persistentVolumeClaim"]["claimName"]
        for v in spec["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert mounted == ["nephra-data", "m"]


def test_pods_that_share_a_claim_of_one_node_stay_together() -> None:
    """Beside affinities of one's own; where all nodes can mount the claim nothing is asked."""
    own = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [own]}}
    given = {**values("plain"), "gateway": {"affinity": affinity}}
    for pod in pods(render(given)):
        terms = pod.spec["affinity"]["podAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert terms[0]["topologyKey"] == "kubernetes.io/hostname"
        wanted = terms[0]["labelSelector"]["matchLabels"].items()
        assert all(wanted <= other.labels.items() for other in pods(render(given)))
        gateway = pod.labels["app.kubernetes.io/component"] == "gateway"
        assert terms[1:] == ([own] if gateway else [])
    assert not any("affinity" in pod.spec for pod in pods(render()))


def test_what_is_replaced_has_time_to_end() -> None:
    """On a GPU a rollout begins when the old pod has ended its work: no failure until then."""
    plain = {"predictors": {"kind": "Deployment"}}
    for given, seconds in ((plain, 600 + 300), ({**plain, **values("gpu")}, 600 + 300 + 3600)):
        deployment = find(render(given), "Deployment", "nephra-nnunet-predictor")
        assert deployment["spec"]["progressDeadlineSeconds"] == seconds


def test_by_default_the_longest_request_may_end() -> None:
    """No component is told to end within less time than a request may take."""
    default = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert default["gateway"]["drainSeconds"] >= default["gateway"]["operationSeconds"]
    for component in COMPONENTS[1:]:
        assert default[component]["drainSeconds"] >= default[component]["timeoutSeconds"]


def test_the_grace_covers_the_longest_work() -> None:
    """5 s until nobody sends more, what the process was told to drain, and 15 s."""
    for component in COMPONENTS:
        spec = _pod(component, {component: {"drainSeconds": 77}})
        assert _env(spec)["NEPHRA_DRAIN_S"] == "77"
        assert spec["terminationGracePeriodSeconds"] == 5 + 77 + 15
        stop = spec["containers"][0]["lifecycle"]["preStop"]
        assert stop == {"exec": {"command": ["sleep", "5"]}}


def test_large_numbers_are_written_as_numbers() -> None:
    """A template would write 2000000 as 2e+06."""
    spec = _pod("nnunet", {"nnunet": {"drainSeconds": 2_000_000, "timeoutSeconds": 3_000_000}})
    assert _env(spec)["NEPHRA_DRAIN_S"] == "2000000"
    assert spec["terminationGracePeriodSeconds"] == 2_000_020
    given = {"gateway": {"retrySeconds": 2_000_000}, "nnunet": {"timeoutSeconds": 3_000_000}}
    assert _env(_pod("gateway", given))["NEPHRA_RETRY_S"] == "2000000"
    isvc = find(render(given), "InferenceService", "nephra-nnunet")
    assert isvc["spec"]["predictor"]["timeout"] == 3_000_000


def test_threads_are_those_that_the_limit_gives() -> None:
    """Or a pod on a node of 64 cores would start 64 threads within a limit of 4."""
    env = {e["name"]: e for e in _pod("nnunet")["containers"][0]["env"]}
    for name in ("NEPHRA_THREADS", "OMP_NUM_THREADS"):
        assert env[name]["valueFrom"]["resourceFieldRef"]["resource"] == "limits.cpu"


def test_variables_of_yours_replace_the_charts() -> None:
    """Once each; others are added."""
    env = _env(_pod("gateway", values("full")))
    assert env["NEPHRA_RETRY_S"] == "900"
    assert env["NEPHRA_HEARTBEAT_S"] == "10"


def test_placement_and_labels_reach_the_pod() -> None:
    """Of each component."""
    given = {
        c: {
            "affinity": {"nodeAffinity": {}},
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "t", "operator": "Exists"}],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
            ],
            "priorityClassName": "high",
            "extraVolumes": [{"name": "more", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
            "podAnnotations": {"a": "1"},
            "podLabels": {"b": "2"},
        }
        for c in COMPONENTS
    }
    found = [p for p in pods(render(given)) if p.serves]
    assert len(found) == 4
    for pod in found:
        for key in ("affinity", "nodeSelector", "tolerations", "topologySpreadConstraints"):
            assert pod.spec[key], key
        assert pod.spec["priorityClassName"] == "high"
        assert "more" in {v["name"] for v in pod.spec["volumes"]}
        assert "/more" in {m["mountPath"] for m in pod.spec["containers"][0]["volumeMounts"]}
        assert (pod.annotations["a"], pod.labels["b"]) == ("1", "2")


def test_selectors_never_change() -> None:
    """A Deployment's cannot be changed: no name and no label of yours is among them."""
    given: dict[str, Any] = {
        "nameOverride": "other",
        "commonLabels": {"team": "x"},
        "predictors": {"kind": "Deployment"},
        **{c: {"podLabels": {"b": "2"}} for c in COMPONENTS},
    }
    for o in kinds(render(given), "Deployment"):
        found = o["spec"]["selector"]["matchLabels"]
        assert found == {
            "app.kubernetes.io/name": "nephra",
            "app.kubernetes.io/instance": "nephra",
            "app.kubernetes.io/component": o["metadata"]["labels"]["app.kubernetes.io/component"],
        }


def test_common_labels_and_annotations_are_everywhere() -> None:
    """On objects and on pods."""
    given = {"commonLabels": {"team": "x"}, "commonAnnotations": {"owner": "y"}}
    objects = render(given)
    for o in objects:
        assert o["metadata"]["labels"]["team"] == "x"
        assert o["metadata"]["annotations"]["owner"] == "y"
    for pod in pods(objects):
        assert (pod.labels["team"], pod.annotations["owner"]) == ("x", "y")


def test_the_claim_stays() -> None:
    """Unless told otherwise; one of yours is used and not made."""
    claim = find(render(), "PersistentVolumeClaim", "nephra-data")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    claim = find(render({"persistence": {"keep": False}}), "PersistentVolumeClaim", "nephra-data")
    assert "annotations" not in claim["metadata"]
    objects = render({"persistence": {"existingClaim": "mine"}})
    assert not kinds(objects, "PersistentVolumeClaim")
    for pod in pods(objects):
        (volume,) = (v for v in pod.spec["volumes"] if v["name"] == "data")
        assert volume["persistentVolumeClaim"] == {"claimName": "mine"}


@pytest.mark.parametrize(
    ("given", "wanted"), [("", None), ("fast", "fast"), ("-", "")], ids=["default", "named", "none"]
)
def test_the_storage_class_is_the_clusters_or_named_or_none(given: str, wanted: str | None) -> None:
    """An empty name switches provisioning off, which is not the same as no name."""
    claim = kinds(render({"persistence": {"storageClass": given}}), "PersistentVolumeClaim")[0]
    assert claim["spec"].get("storageClassName") == wanted


def test_plain_deployments_scale_by_hpa() -> None:
    """Those that are told to; the others have a fixed number."""
    objects = render({"predictors": {"kind": "Deployment"}})
    scaled = {
        o["spec"]["scaleTargetRef"]["name"] for o in kinds(objects, "HorizontalPodAutoscaler")
    }
    assert scaled == {"nephra-smoothing-predictor", "nephra-postprocess-predictor"}
    for o in kinds(objects, "Deployment"):
        assert ("replicas" in o["spec"]) == (o["metadata"]["name"] not in scaled)


def test_nobody_comes_in_when_nobody_is_named() -> None:
    """An empty list opens no way; without the test not even a rule is left."""
    given = {"networkPolicy": {"gatewayFrom": []}, "tests": {"enabled": False}}
    policy = find(render(given), "NetworkPolicy", "nephra-gateway")
    assert "ingress" not in policy["spec"]
    assert "Ingress" in policy["spec"]["policyTypes"]


def test_predictors_open_no_connection() -> None:
    """Not even to DNS: no policy allows them any egress."""
    for policy in kinds(render(), "NetworkPolicy"):
        component = policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
        if component not in ("gateway", "test"):
            assert "egress" not in policy["spec"]


def test_metrics_are_read_by_those_named_alone() -> None:
    """On their own port, of all pods."""
    names = {p["metadata"]["name"] for p in kinds(render(), "NetworkPolicy")}
    assert "nephra-scrape" not in names
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    given = {"networkPolicy": {"scrapeFrom": [peer]}}
    (rule,) = find(render(given), "NetworkPolicy", "nephra-scrape")["spec"]["ingress"]
    assert rule == {"from": [peer], "ports": [{"port": 9090, "protocol": "TCP"}]}


def test_nothing_is_asked_for_when_nobody_has_to() -> None:
    """auth.mode none: no Secret, no mount, and the helm test sends no token."""
    objects = render({"auth": {"mode": "none"}})
    assert not kinds(objects, "Secret")
    assert "tokens" not in str(_pod("gateway", {"auth": {"mode": "none"}})["volumes"])
    assert "NEPHRA_TOKEN" not in str(kinds(objects, "Pod"))
