"""A benchmark's report as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nephra_nnunet.bench.trial import REQUEST_STAGES

_STAGES = ("import", "load", "read", "prepare", "network", "labels")
_WIDTH = 28


def write_table(report: Mapping[str, Any]) -> str:
    """The text of a report; see `command.measure` for what that holds."""
    return "\n".join([*_head(report), "", *_costs(report["runs"]), "", *_ends(report)]) + "\n"


def write_growth(report: Mapping[str, Any]) -> str:
    """The text of a report on memory over two lengths; see `command.measure_growth`."""
    lines = list(_head(report))
    for image, runs in zip(report["images"], report["growth"], strict=True):
        peak = runs["peak_mib"]["median"] / 1024
        lines.append(f"{'x'.join(str(n) for n in image['shape'])}: peak {peak:.2f} GiB")
    lines.append(f"ratio of the peaks: {report['ratio']:.3f}")
    return "\n".join(lines) + "\n"


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    machine, model = report["machine"], report["model"]
    yield (
        f"machine  {machine['cores']} cores, {machine['processor']}, "
        f"{machine['memory_gib']} GiB, {machine['system']}"
    )
    for who, versions in report["versions"].items():
        yield f"{who:8} {', '.join(f'{name} {v}' for name, v in versions.items())}"
    yield (
        f"model    {model['name']}: {model['network']} U-Net, {model['outputs']} outputs, "
        f"folds {len(model['folds'])}, patch {_times(model['patch'])} "
        f"at {_times(model['spacing_mm'])} mm"
    )
    for image in report["images"]:
        yield f"image    {_times(image['shape'])} at {_times(image['spacing_mm'])} mm"
    yield f"options  threads {report['threads']}, mirroring {report['mirroring']}"


def _costs(runs: Mapping[str, Any]) -> Iterator[str]:
    """Wall and CPU seconds and peak memory: stages of the middle run, then the whole."""
    yield " " * 10 + "".join(f"{who:>{_WIDTH}}" for who in runs)
    yield f"{'stage':10}" + f"{'wall s   CPU s   GiB':>{_WIDTH}}" * len(runs)
    middles = [_middle(run) for run in runs.values()]
    for stage in _STAGES:
        yield f"{stage:10}" + "".join(_stage(trial, stage) for trial in middles)
    yield f"{'request':10}" + "".join(_request(trial) for trial in middles)
    yield f"{'whole':10}" + "".join(_whole(run, "median") for run in runs.values())
    if any(len(run["trials"]) > 1 for run in runs.values()):
        for which in ("lowest", "highest"):
            yield f"  {which:8}" + "".join(_whole(run, which) for run in runs.values())


def _ends(report: Mapping[str, Any]) -> Iterator[str]:
    runs = report["runs"]
    for who, run in runs.items():
        if run["killed"]:
            last = run["trials"][-1]
            yield (
                f"{who}: killed for want of memory in the stage '{last['running']}', more than "
                f"{last['peak_mib'] / 1024:.1f} GiB; its figures are those until then"
            )
        estimate_mib = run["trials"][-1]["estimate_mib"]
        if estimate_mib is not None:
            took = run["peak_mib"]["highest"] / 1024
            yield f"{who}: estimated beforehand {estimate_mib / 1024:.2f} GiB, took {took:.2f} GiB"
    for who, ratios in report["ratios"].items():
        least = "more than " if runs[who]["killed"] else ""
        yield (
            f"{who} / nephra: CPU seconds {least}{ratios['cpu_s']:.1f} "
            f"(of the request {least}{ratios['request_cpu_s']:.1f}), "
            f"peak memory {least}{ratios['peak_mib']:.1f}, wall {least}{ratios['wall_s']:.1f}"
        )
    for pair in report["agreement"]:
        yield (
            f"{pair['first']} and {pair['second']}: {pair['differ']} of {pair['voxels']} voxels "
            f"differ ({100 * pair['fraction']:.5f} %), mean Dice {pair['mean_dice']:.6f}"
            f"{_lowest(pair['lowest_dice'])}"
        )


def _middle(run: Mapping[str, Any]) -> Mapping[str, Any]:
    ordered: Sequence[Mapping[str, Any]] = sorted(run["trials"], key=lambda t: float(t["cpu_s"]))
    return ordered[(len(ordered) - 1) // 2]


def _stage(trial: Mapping[str, Any], name: str) -> str:
    for stage in trial["stages"]:
        if stage["name"] == name:
            return _figures(stage["wall_s"], stage["cpu_s"], stage["peak_mib"])
    return f"{'-':>{_WIDTH}}"


def _request(trial: Mapping[str, Any]) -> str:
    """The stages of a request, to a server that has imported and loaded before."""
    found = [stage for stage in trial["stages"] if stage["name"] in REQUEST_STAGES]
    peaks = [stage["peak_mib"] for stage in found]
    return _figures(
        sum(stage["wall_s"] for stage in found),
        sum(stage["cpu_s"] for stage in found),
        None if None in peaks else max(peaks, default=None),
    )


def _whole(run: Mapping[str, Any], which: str) -> str:
    return _figures(run["wall_s"][which], run["cpu_s"][which], run["peak_mib"][which])


def _figures(wall_s: float, cpu_s: float, peak_mib: float | None) -> str:
    peak = "    -" if peak_mib is None else f"{peak_mib / 1024:5.2f}"
    return f"{f'{wall_s:7.1f} {cpu_s:7.1f} {peak}':>{_WIDTH}}"


def _lowest(found: Sequence[float] | None) -> str:
    if found is None:
        return ", no label in either"
    label, dice = found
    return f", lowest {dice:.6f} (label {label:g})"


def _times(numbers: Sequence[float]) -> str:
    return "x".join(f"{n:g}" for n in numbers)
