"""nephra on a real cluster: images built and loaded, the chart installed, asked from outside.

KUBECONFIG and NEPHRA_INGRESS (the ingress controller's URL) name the cluster, NEPHRA_LOAD the
command that brings an image into it, NEPHRA_FAKE_GPU one that lets its node claim GPUs.
`tests/cluster/run` sets them.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.kube import Cluster, command
from cluster.postgres import Postgres, build_image, served
from cluster.release import Release, clear, namespace
from nephra_contract.nifti import write_image, write_labels
from nephra_phantom import Phantom, centred

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("gateway", "nnunet", "postprocess", "smoothing")
#: Of the load tests; small, so that there are many requests: the image is one tile to the network.
SMALL_IMAGE = centred((40, 32, 24), (6.2, 6.2, 6.2))
SMALL_MASK = centred((56, 48, 48), (6.2, 6.2, 6.2))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is here needs a cluster."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that the environment names."""
    found = Cluster.of_environment()
    clear(found)
    return found


@pytest.fixture(scope="session")
def images() -> Mapping[str, str]:
    """Image → tag, in the cluster; those of NEPHRA_IMAGE_TAG, or built from this checkout."""
    if "NEPHRA_IMAGE_TAG" in os.environ:
        return dict.fromkeys(IMAGES, os.environ["NEPHRA_IMAGE_TAG"])
    build = [sys.executable, "-m", "images.build", *IMAGES]
    said = subprocess.run(build, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    built: dict[str, str] = json.loads(said)
    for image in built.values():
        command(*shlex.split(os.environ["NEPHRA_LOAD"]), image)
    return {name: image.rpartition(":")[2] for name, image in built.items()}


@pytest.fixture(scope="session")
def values(images: Mapping[str, str]) -> dict[str, Any]:
    """The images' tags as values of the chart."""
    return {f"{name}.image.tag": tag for name, tag in images.items()}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the cluster's node sees under the same name."""
    if "NEPHRA_CLUSTER_DATA" in os.environ:
        return Path(os.environ["NEPHRA_CLUSTER_DATA"])
    folder = tmp_path_factory.mktemp("nephra-cluster")
    for parent in (folder, *folder.parents):  # pods are not root
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    return folder


@pytest.fixture(scope="session")
def postgres(cluster: Cluster, base: Path) -> Iterator[Postgres]:
    """PostgreSQL, in the namespace of the release that uses it."""
    build_image()
    with (
        namespace(cluster, "nephra-e2e", base / "e2e"),
        served(cluster, "nephra-e2e", base / "e2e-postgres") as postgres,
    ):
        yield postgres


@pytest.fixture(scope="session")
def release(postgres: Postgres, base: Path, values: dict[str, Any]) -> Iterator[Release]:
    """nephra, installed: two gateways, their tickets in PostgreSQL."""
    cluster, two = postgres.cluster, {**values, **postgres.values, "gateway.replicas": 2}
    made = Release(cluster, "nephra", "nephra-e2e", base / "e2e", two)
    made.install()
    made.wait_until_served(cluster.ingress)
    yield made
    made.uninstall()


@pytest.fixture(scope="session")
def small(release: Release) -> dict[str, str]:
    """A small patient in the data root: what → path."""
    phantom, folder = Phantom(90_002), release.data / "small"
    folder.mkdir()
    write_image(folder / "A.nii.gz", phantom.volume("A", SMALL_IMAGE))
    write_labels(folder / "mask.nii.gz", phantom.labels(SMALL_MASK, "A"))
    return {"image": "small/A.nii.gz", "mask": "small/mask.nii.gz"}
