"""All Dockerfiles have one shape, and the check of it can fail."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator

import pytest
from images.closure import Workspace
from images.context import NAMES, ROOT, copied, dockerfile, instructions

TRACING = "nephra-serving[tracing]"
#: Image → what of ours it is installed from, and the module it runs.
SERVICES = {
    "gateway": (["nephra-gateway[tracing]"], "nephra_gateway"),
    "nnunet": (["nephra-nnunet", TRACING], "nephra_nnunet"),
    "nnunet-gpu": (["nephra-nnunet[torch]", TRACING], "nephra_nnunet"),
    "postprocess": (["nephra-postprocess", "nephra-cli[check]", TRACING], "nephra_postprocess"),
    "smoothing": (["nephra-smoothing", TRACING], "nephra_smoothing"),
}
STAGES = ["tools", "packages", "libraries", ""]
#: Made of what the base lacks for an extra; nothing without one.
SYSTEM = "system"
#: Builds the page of the gateway.
PAGE = "page"
LABELS = {"title", "description", "licenses", "version", "revision", "base.name"}
ENVIRONMENT = {
    "NEPHRA_HOST=0.0.0.0", "NEPHRA_PORT=8080", "NEPHRA_DATA=/data", "HOME=/tmp",
    "PYTHONDONTWRITEBYTECODE=1",
}  # fmt: skip

#: What decides which packages the page is built with: a layer of its own.
_OF_NPM = {"web/package.json", "web/package-lock.json", "web/.npmrc"}

Check = Callable[[str, str], Iterator[str]]


def defects(name: str, text: str) -> list[str]:
    """One sentence for each promise that the Dockerfile `text` of image `name` breaks."""
    return [said for check in CHECKS for said in check(name, text)]


def _stages(name: str, text: str) -> Iterator[str]:
    found = [rest.partition(" AS ")[::2] for word, rest in instructions(text) if word == "FROM"]
    names = [stage for _, stage in found]
    has_system = names[:1] == [SYSTEM]
    wanted = [STAGES[0], PAGE, *STAGES[1:]] if name == "gateway" else STAGES
    if names[has_system:] != wanted:
        yield f"the stages are not {wanted}"
    base = SYSTEM if has_system else "${BASE}"
    of_tools = ["tools"] * (len(wanted) - 2)
    if [base for base, _ in found] != ["${BASE}"] * has_system + [base, *of_tools, base]:
        yield "a stage is made from something else than BASE"
    if "BASE=python:3.11-slim-bookworm" not in _all(text, "ARG"):
        yield "BASE is not python:3.11-slim-bookworm"
    if ":latest" in text:
        yield "latest is not pinned"


def _plain(name: str, text: str) -> Iterator[str]:
    words = {word for word, _ in instructions(text)}
    if "HEALTHCHECK" in words:
        yield "there is a HEALTHCHECK; Kubernetes has probes"
    if "ADD" in words:
        yield "ADD may fetch what nobody verified"
    if "<<" in text or text.lstrip().startswith("# syntax"):
        yield "only BuildKit knows this syntax"
    mounts = re.findall(r"--mount=(\S+)", text)
    if any(not mount.startswith("type=cache,target=/") for mount in mounts):
        yield "a mount is not a cache"
    for source in re.findall(r"--from=(\S+)", text):
        if source not in {*STAGES, PAGE}:
            yield f"{source} comes from outside"
    if re.search(r"https?://|--index-url|--extra-index|--find-links", text):
        yield "a registry is named; that is for the builder's own settings"


def _verified(name: str, text: str) -> Iterator[str]:
    installs = [run for run in _all(text, "RUN") if re.search(r"\b(?:uv )?pip install\b", run)]
    for run in installs:
        tail = run[run.index("pip install") :]
        if "--require-hashes" not in tail and not {"--no-index", "--no-deps"} <= set(tail.split()):
            yield "something is installed that no hash pins"
    for run in _all(text, "RUN"):
        if re.search(r"\bnpm\b.* (?:i|install|add|update|exec)\b|\bnpx\b", run):
            yield "npm installs what package-lock.json does not pin"
        if re.search(r"\bnpm\b.* ci\b", run) and "--ignore-scripts" not in run:
            yield "a package of the page runs something when it is installed"
    if not any("--constraint requirements.lock" in run for run in installs):
        yield "the libraries do not come from the lock"
    if name != "nnunet-gpu" and not any("--only-binary :all:" in run for run in installs):
        yield "a library may be built from source"
    for run in _all(text, "RUN"):
        if "apt-get install" in run and "rm -rf /var/lib/apt/lists/*" not in run:
            yield "apt's lists stay"


def _final(name: str, text: str) -> Iterator[str]:
    stage = text[text.rindex("\nFROM ") :]
    runs = _all(stage, "RUN")
    module = SERVICES[name][1]
    if runs != [f"python /opt/nephra/proof.py {module}"]:
        yield "the last stage does something else than prove the image"
    order = [word for word, _ in instructions(stage)]
    if _all(stage, "USER") != ["10001:10001"]:
        yield "the user is not 10001"
    elif "RUN" in order and order.index("USER") > order.index("RUN"):
        yield "the proof does not run as the image's user"
    if _all(stage, "ENTRYPOINT") != [f'["python", "-m", "{module}"]'] or "CMD" in order:
        yield f"it does not start {module}"
    labels = set(
        re.findall(r"org\.opencontainers\.image\.([\w.]+)=", " ".join(_all(stage, "LABEL")))
    )
    if labels != LABELS:
        yield f"the labels are not {sorted(LABELS)}"
    if missing := ENVIRONMENT - set(" ".join(_all(stage, "ENV")).split()):
        yield f"the environment lacks {sorted(missing)}"


def _closure(name: str, text: str) -> Iterator[str]:
    wanted = SERVICES[name][0]
    folders = Workspace().folders(wanted)
    packages = _stage(text, "packages")
    if sorted(set(copied(packages)) - {"images/imports.py"}) != sorted(folders):
        yield f"it is built from other packages than {folders}"
    if f"for package in {' '.join(folders)};" not in packages:
        yield f"the wheels built are not those of {folders}"
    projects = {f"{folder}/pyproject.toml" for folder in folders}
    shared = {"requirements.lock", *(f"images/{m}.py" for m in ("closure", "trim", "elf", "usage"))}
    libraries = _stage(text, "libraries")
    if set(copied(libraries)) != projects | shared:
        yield "the libraries' stage sees more than the lock and the projects, or less"
    asked = re.findall(r"images\.closure requirements (.*?) >", libraries)
    told = [r.replace('"', "").replace("${EXTRAS}", "").split() for r in asked]
    if told != [wanted]:
        yield f"the libraries are not those of {wanted}"


def _page(name: str, text: str) -> Iterator[str]:
    if name != "gateway":
        return
    built = "gateway/src/nephra_gateway/page"
    if f"COPY --from=page /build/{built} {built}\n" not in _stage(text, "packages"):
        yield "the gateway is built without the page"
    if set(copied(_stage(text, PAGE))) != {"images/node.lock", "web", *_OF_NPM}:
        yield "the page is built of something else than web/"


def _all(text: str, word: str) -> list[str]:
    return [re.sub(r"\s+", " ", rest) for found, rest in instructions(text) if found == word]


def _stage(text: str, name: str) -> str:
    found = re.search(rf"^FROM \S+ AS {name}$(.*?)^FROM ", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def pinned_uv() -> tuple[str, str]:
    """The version of uv in the Makefile and in what the build stages install."""
    made = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    locked = re.search(r"^uv==(\S+)", (ROOT / "images/build.lock").read_text(), re.MULTILINE)
    assert made
    assert locked
    return made[1], locked[1]


def project_version() -> str:
    """The version that the workspace has."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


CHECKS: tuple[Check, ...] = (_stages, _plain, _verified, _final, _closure, _page)


#: What somebody might do to a Dockerfile, as (pattern, replacement), → what is said about it.
SABOTAGES = {
    "no version": (r"bookworm", "trixie", "BASE is not"),
    "latest": (r"3\.11-slim-bookworm", "latest", "latest"),
    "another base": (r"\nFROM \S+\nENV", "\nFROM debian:12\nENV", "else than BASE"),
    "one stage less": (r" AS libraries", " AS other", "stages"),
    "uv's own image": (r"--from=packages", "--from=ghcr.io/astral-sh/uv", "comes from outside"),
    "health check": (r"\nEXPOSE", "\nHEALTHCHECK CMD true\nEXPOSE", "HEALTHCHECK"),
    "fetched file": (r"\nEXPOSE", "\nADD https://example.org/x /x\nEXPOSE", "ADD"),
    "root": (r"USER 10001:10001\n", "", "user is not"),
    "root's proof": (r"(USER .*\n)((?:.*\n)*?)(RUN .*\n)", r"\2\3\1", "does not run as"),
    "named root": (r"USER 10001:10001", "USER root", "user is not"),
    "no proof": (r"\nRUN python /opt/nephra/proof.py .*", "", "prove the image"),
    "unverified": (r"--require-hashes --requirement images", "--requirement images", "no hash"),
    "no lock": (r" --constraint requirements.lock", "", "from the lock"),
    "apt's lists": (r" \\\n +&& rm -rf /var/lib/apt/lists/\*", "", "apt's lists"),
    "a registry": (r"--require-hashes", "--index-url https://x --require-hashes", "registry"),
    "here-document": (r"\nEXPOSE", "\nRUN <<E\ntrue\nE\nEXPOSE", "BuildKit"),
    "bind mount": (r"type=cache", "type=bind", "not a cache"),
    "no title": (r"image\.title", "image.name", "labels"),
    "loopback": (r"NEPHRA_HOST=0\.0\.0\.0", "NEPHRA_HOST=127.0.0.1", "environment"),
    "shell form": (r'ENTRYPOINT \["python", "-m", ', 'ENTRYPOINT ["sh", "-c", ', "start"),
    "the whole checkout": (r"COPY contract contract", "COPY . .", "other packages"),
    "one package less": (r"COPY contract contract\n", "", "other packages"),
    "code before libraries": (r"contract/pyproject.toml ", "contract ", "more than"),
    "another service": (r"closure requirements \S+", "closure requirements x", "those of"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_dockerfile_has_the_shape(name: str) -> None:
    """Stages, base, hashes, user, labels, entry point, and only the closure of its service."""
    assert defects(name, dockerfile(name).read_text()) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_the_shape_is_seen_to_be_broken(name: str, sabotage: str) -> None:
    """Each sabotaged copy is called what it is."""
    pattern, replacement, said = SABOTAGES[sabotage]
    text = dockerfile(name).read_text()
    broken = re.sub(pattern, replacement, text)
    assert broken != text
    assert any(said in defect for defect in defects(name, broken))


#: The same for the stage that only the gateway has.
SABOTAGES_OF_THE_PAGE = {
    "no page": (r"COPY --from=page .*\n", "", "without the page"),
    "page of the checkout": (r"COPY --from=page .*", "COPY web/page page", "without the page"),
    "unpinned node": (r"--require-hashes --requirement images/node", "-r images/node", "no hash"),
    "unpinned packages": (r"web ci ", "web install ", "does not pin"),
    "run by npx": (r"npm --prefix web run build", "npx vite build", "does not pin"),
    "scripts": (r"ci --ignore-scripts", "ci", "runs something"),
    "node's own image": (r"FROM tools AS page", "FROM node:24 AS page", "else than BASE"),
}


@pytest.mark.parametrize("sabotage", SABOTAGES_OF_THE_PAGE)
def test_the_shape_of_the_page_is_seen_to_be_broken(sabotage: str) -> None:
    """Each sabotaged copy of the gateway's is called what it is."""
    pattern, replacement, said = SABOTAGES_OF_THE_PAGE[sabotage]
    text = dockerfile("gateway").read_text()
    broken = re.sub(pattern, replacement, text)
    assert broken != text
    assert any(said in defect for defect in defects("gateway", broken))


def test_there_is_a_dockerfile_for_each_image_and_no_other() -> None:
    """`images.context.NAMES` is what the checkout holds."""
    assert {p.name for p in ROOT.glob("Dockerfile*")} == {f"Dockerfile.{n}" for n in NAMES}
    assert set(SERVICES) == set(NAMES)


def test_images_are_built_by_the_uv_of_the_makefile() -> None:
    """One version of uv installs here and in images."""
    made, locked = pinned_uv()
    assert made == locked


def test_all_that_build_stages_install_is_pinned() -> None:
    """Each entry of the locks has a version and hashes."""
    text = "\n".join((ROOT / f"images/{lock}.lock").read_text() for lock in ("build", "node"))
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)
    assert all("==" in e and "--hash=sha256:" in e for e in entries if e.strip())


@pytest.mark.parametrize("name", NAMES)
def test_the_version_is_that_of_the_project(name: str) -> None:
    """An image built without arguments is labelled with the right version."""
    assert f"\nARG VERSION={project_version()}\n" in dockerfile(name).read_text()
