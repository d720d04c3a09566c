"""The worker: a process that holds a runner, and does one piece of work at a time.

`python -m nephra_serving.worker HANDLE` is started by the server, with one end of a socket pair.
It is the only process that imports operations and engines; it knows no HTTP.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nephra_contract import logs
from nephra_contract.messages import Event
from nephra_contract.parent import signal_at_parents_end
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_serving.answers import plain, to_json
from nephra_serving.defects import ours
from nephra_serving.throttle import Throttle
from nephra_serving.wire import Said, Wire, from_error

if TYPE_CHECKING:
    from nephra_contract.execution import Runner

#: The name under which a predictor's program is loaded that is a file, and no module.
_PROGRAM = "__nephra_program__"


class Desk:
    """Where the orders of one server arrive and are done, one after the other."""

    def __init__(self, wire: Wire, gone: Callable[[], None]) -> None:
        self._wire = wire
        self._gone = gone
        self._orders: queue.SimpleQueue[Said | None] = queue.SimpleQueue()
        self._stops: dict[int, threading.Event] = {}

    def listen(self) -> None:
        """Take orders until the server has gone. Runs in a thread of its own."""
        while (order := self._wire.receive()) is not None:
            if "run" in order:
                self._stops[order["run"]] = threading.Event()
                self._orders.put(order)
            elif stop := self._stops.get(order["stop"]):  # that work may end at this moment
                stop.set()
        for stop in list(self._stops.values()):
            stop.set()
        self._orders.put(None)
        self._gone()

    def serve(self, make: Callable[[], Runner]) -> None:
        """Make the runner, say what it offers, and work until the server has gone."""
        try:
            runner = make()
            operations = [o.model_dump(mode="json") for o in runner.describe()]
            bundles = [b.model_dump(mode="json") for b in runner.bundles()]
        except Exception as error:  # noqa: BLE001  the border between operations and the server
            self._send(from_error(ours(error)))
            return
        self._send({"operations": operations, "bundles": bundles})
        while (order := self._orders.get()) is not None:
            self._send(self._do(runner, order))

    def _do(self, runner: Runner, order: Said) -> Said:
        progress = self._progress(self._stops[order["run"]])
        with logs.about(**order["about"]):
            try:
                return {"answers": _run(runner, order["model"], order["instances"], progress)}
            except Exception as error:  # noqa: BLE001  the border between operations and the server
                return from_error(ours(error))
            finally:
                del self._stops[order["run"]]

    def _progress(self, stop: threading.Event) -> Progress:
        throttle = Throttle()

        def post(event: Event) -> None:
            content = event.model_dump_json(exclude_none=True, fallback=plain)
            self._send({"event": content})

        def report(fraction: float, stage: str) -> None:
            event = throttle.admit(fraction, stage)
            if event is not None:
                post(event)

        def artifact(kind: str, detail: dict[str, object]) -> None:
            post(Event(event="artifact", stage=kind, artifact=detail))

        return Progress(report=report, stop=stop, artifact=artifact)

    def _send(self, said: Mapping[str, Any]) -> None:
        try:
            self._wire.send(said)
        except OSError:
            pass  # the server has gone; `listen` notices, too


def _run(
    runner: Runner, model: str, instances: list[dict[str, Any]], progress: Progress
) -> list[Said]:
    share = 1 / len(instances)
    return [
        to_json(runner.run(model, instance, progress.part(i * share, (i + 1) * share)))
        for i, instance in enumerate(instances)
    ]


def refer(build: Callable[[DataRoot], Runner]) -> dict[str, str]:
    """Where another process finds a function: its module, or the program's file.

    Raises:
        TypeError: it is no function of a module, such as a lambda.
    """
    if "<" in build.__qualname__:
        raise TypeError("build has to be a function of a module, for another process to find it")
    found = {"name": build.__qualname__, "module": build.__module__}
    if build.__module__ == "__main__":
        program = sys.modules["__main__"]
        if program.__spec__ is not None:
            found["module"] = program.__spec__.name
        else:
            found["file"] = str(Path(str(program.__file__)).resolve())
    return found


def _find(reference: Mapping[str, str]) -> Callable[[DataRoot], Runner]:
    if "file" not in reference:
        module = importlib.import_module(reference["module"])
    else:
        spec = importlib.util.spec_from_file_location(_PROGRAM, reference["file"])
        if spec is None or spec.loader is None:
            raise ImportError("the predictor's program cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules[_PROGRAM] = module
        spec.loader.exec_module(module)
    build: Callable[[DataRoot], Runner] = getattr(module, reference["name"])
    return build


def _die_with(server: int) -> None:
    """Be killed when the server ends, however it ends; by the kernel on Linux only."""
    signal_at_parents_end(signal.SIGKILL)
    if os.getppid() != server:  # it has ended already
        os._exit(0)


def _ignore_signals() -> None:
    """Leave it to the server to end: Ctrl-C and some supervisors signal the whole group."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Not SIG_IGN, which programs that a library starts would inherit.
        signal.signal(number, lambda *_: None)


def main() -> None:
    """Work for the server at the other end of the socket whose handle is the only argument."""
    _ignore_signals()
    end = socket.socket(fileno=int(sys.argv[1]))
    # A program that a library starts would hold it open, and the server not learn of our end.
    end.set_inheritable(False)
    wire = Wire(end)
    told = wire.receive()
    if told is None:
        return
    _die_with(told["server"])
    logs.configure(told["predictor"])
    sys.argv[1:] = []
    sys.path[:] = told["path"]
    # Where the kernel does not, the end of the socket ends this process.
    desk = Desk(wire, gone=lambda: os._exit(0))
    threading.Thread(target=desk.listen, name="nephra-desk", daemon=True).start()
    desk.serve(lambda: _find(told["build"])(DataRoot(Path(told["data"]))))


if __name__ == "__main__":
    main()
