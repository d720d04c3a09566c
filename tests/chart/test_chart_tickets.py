"""Tickets: where they are kept, how many run, and that the gateway understands what it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chart.rendering import CI, Object, find, kinds, of_ci, pods, render, values
from nephra_gateway.settings import GatewaySettings

DATABASE: dict[str, Any] = {
    "database": {"existingSecret": "db"},
    "networkPolicy": {"database": {"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}},
}


def _gateway(given: Any = None) -> Object:
    deployment: Object = find(render(given), "Deployment", "nephra-gateway")
    return deployment


def _env(deployment: Object) -> dict[str, Any]:
    return {e["name"]: e for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}


def _limits(given: Any = None) -> dict[str, int]:
    found: dict[str, int] = json.loads(_env(_gateway(given))["NEPHRA_LIMITS"]["value"])
    return found


@pytest.mark.parametrize("name", [*CI, None])
def test_the_gateway_understands_all_that_it_is_told(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every variable is one of its settings, and its value is taken."""
    objects = of_ci(name) if name else render()
    (deployment,) = (o for o in kinds(objects, "Deployment") if "gateway" in o["metadata"]["name"])
    told = {n: e for n, e in _env(deployment).items() if n.startswith("NEPHRA_")}
    for variable, entry in told.items():
        assert variable.removeprefix("NEPHRA_").lower() in GatewaySettings.model_fields
        monkeypatch.setenv(variable, entry.get("value", "postgresql://u:p@h/n"))
    assert set(GatewaySettings().model_fields_set) == {
        n.removeprefix("NEPHRA_").lower() for n in told
    }


def test_what_is_said_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds, bytes, lists and numbers, each as its setting."""
    (deployment,) = (
        o for o in kinds(of_ci("full"), "Deployment") if "gateway" in o["metadata"]["name"]
    )
    for name, entry in _env(deployment).items():
        monkeypatch.setenv(name, entry.get("value", "postgresql://u:p@h/n"))
    settings = GatewaySettings()
    assert settings.limits == {"nnunet": 2, "registration": 1}
    assert settings.keep_tickets_s == 86400
    assert settings.cache_max_bytes == 200 * 2**30
    assert settings.max_upload_bytes == 8 * 2**30
    assert (settings.rate_per_s, settings.rate_burst) == (20, 200)
    assert settings.cors_origins == ("https://viewer.example.org",)
    assert settings.webhook_hosts == ("his.example.org",)
    assert str(settings.webhook_secret_file) == "/etc/nephra/webhooks/secret"
    assert settings.database == "postgresql://u:p@h/n"


def test_nnunet_gets_as_many_requests_as_its_pods_work_on() -> None:
    """One on one GPU; one's own number wins; where it is not installed it has none."""
    assert _limits() == {"nnunet": 1}
    scaled = {"autoscaling": {"mode": "hpa", "maxReplicas": 3}, "concurrency": 2}
    assert _limits({"nnunet": scaled}) == {"nnunet": 6}
    fixed = {"autoscaling": {"mode": "none", "minReplicas": 2, "maxReplicas": 1}}
    assert _limits({"nnunet": fixed}) == {"nnunet": 2}
    assert _limits({"nnunet": scaled, "tickets": {"limits": {"nnunet": 4, "smoothing": 1}}}) == {
        "nnunet": 4,
        "smoothing": 1,
    }
    assert _limits({"nnunet": {"enabled": False}}) == {}


def test_without_postgresql_there_is_one_gateway_at_a_time() -> None:
    """One file of SQLite has one writer, also while it is replaced; and nothing to be migrated."""
    deployment = _gateway()
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert deployment["spec"]["progressDeadlineSeconds"] == 600 + 3600
    assert "NEPHRA_DATABASE" not in _env(deployment)
    assert not kinds(render(), "Job")


def test_with_postgresql_the_old_gateway_stays_until_the_new_one_is_ready() -> None:
    """Its URL comes from the Secret alone."""
    deployment = _gateway(DATABASE)
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["spec"]["progressDeadlineSeconds"] == 600
    key = _env(deployment)["NEPHRA_DATABASE"]["valueFrom"]["secretKeyRef"]
    assert key == {"name": "db", "key": "url"}


@pytest.mark.parametrize("name", ["postgresql", "full"])
def test_the_tables_are_there_before_the_gateways(name: str) -> None:
    """A hook before each installation and upgrade, and before it what its pod needs."""
    full = "nephra-kidneys" if name == "full" else "nephra"
    objects = [o for o in of_ci(name) if o["metadata"]["name"] == f"{full}-migration"]
    assert {o["kind"] for o in objects} == {"Job", "ServiceAccount", "NetworkPolicy"}
    weights = {}
    for o in objects:
        notes = o["metadata"]["annotations"]
        assert notes["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert notes["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        weights[o["kind"]] = int(notes["helm.sh/hook-weight"])
    assert weights["Job"] > max(weights["ServiceAccount"], weights["NetworkPolicy"])


def test_the_migration_needs_nothing_that_comes_later() -> None:
    """No claim, no token's Secret; the image, and what reaches it, are the gateway's."""
    given = values("full")
    objects = render(given)
    (job,) = (p for p in pods(objects) if p.owner.startswith("Job/"))
    assert [v["name"] for v in job.spec["volumes"]] == ["tmp", "certificates"]
    (container,) = job.spec["containers"]
    assert container["command"] == ["python", "-m", "nephra_gateway", "migrate"]
    (gateway,) = (p for p in pods(objects) if p.owner.endswith("-gateway") and p.serves)
    assert container["image"] == gateway.spec["containers"][0]["image"]
    assert job.spec["tolerations"] == gateway.spec["tolerations"]
    assert job.spec["restartPolicy"] == "Never"
    there = {"HOME", "NEPHRA_DATA", "NEPHRA_DATABASE"}
    assert there <= {e["name"] for e in container["env"]}


def test_an_account_of_yours_is_the_migrations_too() -> None:
    """Then nothing is made for it."""
    given = {**DATABASE, "serviceAccount": {"create": False, "name": "mine"}}
    objects = render(given)
    assert not kinds(objects, "ServiceAccount")
    assert {p.spec["serviceAccountName"] for p in pods(objects)} == {"mine"}


def test_traces_are_sent_by_all_services_where_they_are_wanted() -> None:
    """To the collector that is named; nobody is told of one otherwise."""
    endpoint = "http://collector.monitoring:4318"
    given = {"tracing": {"endpoint": endpoint}, "networkPolicy": {"enabled": False}}
    for wanted, value in ((given, endpoint), ({}, None)):
        for pod in (p for p in pods(render(wanted)) if p.serves):
            env = {e["name"]: e.get("value") for e in pod.spec["containers"][0]["env"]}
            assert env.get("OTEL_EXPORTER_OTLP_ENDPOINT") == value
