"""`nephra demo`: a phantom's three phases to one scene, by services that really run."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nephra_cli import screen
from nephra_cli.bars import follow
from nephra_cli.client import Client
from nephra_cli.connection import JsonOption
from nephra_cli.services import services
from nephra_cli.transfer import bring_in, bring_out, files_of

#: No seed that the demo models were trained on.
DEFAULT_SEED = 90_007


class Size(StrEnum):
    """The phantom's grids."""

    SMALL = "small"
    LARGE = "large"


class Steps(dict[str, float]):
    """Seconds of each step, in the order in which they were begun."""

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Take the time of a block."""
        screen.say(f"{name} …")
        started = time.monotonic()
        yield
        self[name] = time.monotonic() - started


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what it makes.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(min=0, help="Which synthetic patient.")] = DEFAULT_SEED,
    size: Annotated[Size, typer.Option(help="Grid of the three phases.")] = Size.SMALL,
    as_json: JsonOption = False,
) -> None:
    """Show the whole way on a synthetic patient whose anatomy is known."""
    # Here, so that other commands do not wait for what only pictures need.
    from nephra_cli.demo.agreement import dice_by_name
    from nephra_cli.demo.overview import write_overview
    from nephra_cli.demo.patient import make_patient
    from nephra_cli.demo.surfaces import read_obj
    from nephra_contract.nifti import read_labels

    steps = Steps()
    with steps.time("make the patient"):
        patient = make_patient(seed, size.value)
        phases = patient.write(out)
    answer = _run_case(phases, out, steps)
    mask = read_labels(out / "mask.nii.gz")
    agreement = dice_by_name(mask, patient.truth)
    with steps.time("draw the overview"):
        title = f"nephra demo: synthetic patient {seed}, not for clinical use"
        surfaces = read_obj(out / "scene.obj")
        write_overview(out / "overview.png", patient.images, mask, surfaces, title)
    volumes_ml = {name: answer["volumes_ml"].get(name, 0.0) for name in agreement}
    if as_json:
        seconds = {**steps, "of the case": answer.get("timings", {})}
        screen.show_json({"volumes_ml": volumes_ml, "dice": agreement, "seconds": seconds})
        return
    shape = " x ".join(str(n) for n in mask.shape)
    _show(shape, volumes_ml, agreement, steps, answer)
    typer.echo(f"{out}: {', '.join(sorted(p.name for p in out.iterdir()))}")


def _run_case(phases: Mapping[str, Path], out: Path, steps: Steps) -> dict[str, Any]:
    """The case through a nephra of its own, its data root gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nephra-demo-") as home, contextlib.ExitStack() as held:
        data, state = Path(home, "data"), Path(home, "state")
        with steps.time("start the services"):
            up = held.enter_context(services(data, state=state, temporary=True))
        client = held.enter_context(Client(up.running.url, up.token))
        with steps.time("run the case"):
            named = {phase: bring_in(str(path), data) for phase, path in phases.items()}
            answer = follow(client.case(named))
            bring_out(files_of(answer), data, out)
    return answer


def _show(
    shape: str,
    volumes_ml: Mapping[str, float],
    agreement: Mapping[str, float | None],
    steps: Mapping[str, float],
    answer: Mapping[str, Any],
) -> None:
    for warning in answer.get("warnings", []):
        screen.say(f"warning: {warning}")
    rows = [[*row, agreement[name]] for name, row in screen.volume_rows(volumes_ml).items()]
    screen.show_table(f"structures ({shape})", ["structure", "volume mL", "Dice"], rows)
    seconds = [[name, round(value, 1)] for name, value in steps.items()]
    inner = [[f"  {n}", round(float(v), 1)] for n, v in answer.get("timings", {}).items()]
    at = next(i for i, row in enumerate(seconds) if row[0] == "run the case") + 1
    screen.show_table("steps", ["step", "seconds"], seconds[:at] + inner + seconds[at:])
