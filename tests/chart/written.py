"""What is written from the chart: manifests, its values' reference, the defaults' snapshot.

Run as `python -m chart.written [--write]` with `tests` on the path. Without --write it says what is
out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from chart.reference import reference
from chart.rendering import ROOT, Object, render, texts, values

_HEADER = "# Rendered from charts/nephra by `make manifests`; change it there.\n"
#: What only Helm reads or would write.
_HELM_LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")


class _Dumper(yaml.SafeDumper):
    """Lists stand under their key, indented, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def without_helm(o: Object) -> Object:
    """An object for kubectl: what is Helm's alone is left out, in the labels of its pods too."""

    def clean(part: Any) -> Any:
        if isinstance(part, list):
            return [clean(p) for p in part]
        if not isinstance(part, dict):
            return part
        kept = {
            k: clean(v)
            for k, v in part.items()
            if k not in _HELM_LABELS and not k.startswith("helm.sh/")
        }
        return {k: v for k, v in kept.items() if (k, v) != ("annotations", {})}

    cleaned: Object = clean(o)
    return cleaned


def manifest(about: str, given: Object) -> str:
    """All objects as one YAML stream, the token's Secret left to whoever applies it.

    Args:
        about: a sentence for the head.
        given: values.
    """
    given = {**given, "auth": {"existingSecret": "nephra-tokens"}, "tests": {"enabled": False}}
    objects = [without_helm(o) for o in render(given, "nephra", "nephra")]
    order = ["ServiceAccount", "PersistentVolumeClaim", "NetworkPolicy"]
    objects.sort(key=lambda o: order.index(o["kind"]) if o["kind"] in order else len(order))
    dumped = yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=110)
    needs = "# Needs the namespace of namespace.yaml and a Secret nephra-tokens, see README.md.\n"
    return f"{_HEADER}# {about}\n{needs}---\n{dumped}"


def plain() -> str:
    """Without Helm and without KServe."""
    return manifest("Deployments on one node: no KServe needed.", values("plain"))


def with_kserve() -> str:
    """Without Helm, with KServe."""
    return manifest("InferenceServices: KServe, and a StorageClass with ReadWriteMany.", {})


def snapshot() -> str:
    """All that the defaults render to; the token that is made anew each time left out."""
    rendered = texts()
    said = "".join(f"---\n# {name}\n{rendered[name].strip()}\n" for name in sorted(rendered))
    return re.sub(r"^(  tokens?: ).*$", r"\1GENERATED", said, flags=re.MULTILINE)


WRITTEN: dict[Path, Callable[[], str]] = {
    ROOT / "manifests" / "plain.yaml": plain,
    ROOT / "manifests" / "kserve.yaml": with_kserve,
    ROOT / "docs" / "reference" / "values.md": reference,
    ROOT / "tests" / "chart" / "defaults.snapshot.yaml": snapshot,
}


def main(*flags: str) -> int:
    """0 when all is as the chart says (or was written), 1 when it is not."""
    late = [
        path
        for path, write in WRITTEN.items()
        if not path.exists() or path.read_text(encoding="utf-8") != write()
    ]
    if "--write" in flags:
        for path in late:
            path.write_text(WRITTEN[path](), encoding="utf-8")
        return 0
    for path in late:
        sys.stderr.write(f"{path.relative_to(ROOT)} is out of date; run: make manifests\n")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
