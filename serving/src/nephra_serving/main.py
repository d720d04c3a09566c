"""The command of every predictor: serve, or run one operation and end."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nephra_contract import logs, traces
from nephra_contract.errors import Cancelled, NephraError, Refused, RequestInvalid
from nephra_contract.messages import Answer, Problem
from nephra_contract.parent import end_with_parent
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_serving.answers import to_json
from nephra_serving.defects import ours
from nephra_serving.settings import ServingSettings

if TYPE_CHECKING:
    # The server's own process needs none of what operations need.
    from nephra_contract.execution import Runner

Build = Callable[[DataRoot], "Runner"]


def main(predictor: str, build: Build, argv: Sequence[str] | None = None) -> int:
    """Serve a predictor, or run one of its operations without a server.

    Args:
        predictor: the service's name, for example `postprocess`.
        build: makes its runner, with models loaded and checked. A server calls it in a worker
            process, which imports it by its name: it has to be a function of a module, and what
            operations need is best imported within it.
        argv: the arguments; the process's own by default.

    Returns:
        0; 1 if nephra failed, 2 if the request can be mended, 130 if it was interrupted.
    """
    settings = ServingSettings()
    arguments = _parser(predictor, settings).parse_args(argv)
    chosen = settings.model_copy(
        update={k: v for k, v in vars(arguments).items() if k in ServingSettings.model_fields}
    )
    try:
        if arguments.command == "run":
            return _run(build, arguments.model, arguments.members, chosen)
        return _serve(predictor, build, chosen)
    except NephraError as error:
        print(json.dumps(Problem.of(error).model_dump(mode="json")), file=sys.stderr)  # noqa: T201
        if isinstance(error, Cancelled):
            return 130
        return 2 if isinstance(error, Refused) else 1


def _parser(predictor: str, settings: ServingSettings) -> argparse.ArgumentParser:
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data", type=Path, default=settings.data, help="the data root (default: %(default)s)"
    )
    parser = argparse.ArgumentParser(
        prog=f"python -m nephra_{predictor}", description=f"nephra's predictor '{predictor}'"
    )
    parser.set_defaults(command="serve", data=settings.data)
    commands = parser.add_subparsers(metavar="serve|run")
    serve = commands.add_parser("serve", parents=[data], help="serve over HTTP (the default)")
    serve.add_argument("--host", default=settings.host, help="default: %(default)s")
    serve.add_argument("--port", type=int, default=settings.port, help="default: %(default)s")
    serve.set_defaults(command="serve")
    run = commands.add_parser("run", parents=[data], help="run one operation and print its answer")
    run.add_argument("model", help="the operation, for example 'fat'")
    run.add_argument("members", nargs="*", metavar="key=value", help="the request's members")
    run.set_defaults(command="run")
    return parser


def _serve(predictor: str, build: Build, settings: ServingSettings) -> int:
    from nephra_serving.hands import Post
    from nephra_serving.worker import refer

    logs.configure(predictor)
    # Until the server listens to signals itself. The first process of a container has no
    # default: there SIGTERM would be ignored, and the pod would wait for its grace to pass.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if settings.exit_with_parent:
        end_with_parent()
    data = _data_root(settings.data)
    post = Post(predictor, refer(build), data.root, settings.stop_s)
    post.prepare()
    # KServe takes seconds to import, and `run` does not need it.
    from nephra_serving.server import Server

    end_traces = traces.begin(predictor)
    try:
        Server(predictor, post, settings).start()
    finally:
        end_traces()
    return 0


def _run(build: Build, model: str, members: Sequence[str], settings: ServingSettings) -> int:
    request = dict(_member(m) for m in members)
    progress = Progress(report=_show) if sys.stderr.isatty() else Progress()
    # Libraries that print must not spoil the answer.
    with contextlib.redirect_stdout(sys.stderr), _interrupts(progress):
        answer = _answer(build, model.rsplit("/", 1)[-1], request, settings, progress)
    print(json.dumps(to_json(answer), indent=2))  # noqa: T201
    return 0


def _answer(
    build: Build, model: str, request: dict[str, Any], settings: ServingSettings, progress: Progress
) -> Answer:
    try:
        return build(_data_root(settings.data)).run(model, request, progress)
    except NephraError:
        raise
    except Exception as error:  # the border of the command
        raise ours(error) from error


def _data_root(data: Path) -> DataRoot:
    if not data.is_dir():
        raise RequestInvalid(
            "The data root is not a directory.", "Create it, or name another with --data."
        )
    return DataRoot(data)


def _member(text: str) -> tuple[str, Any]:
    """`key=value`; the value is JSON where it parses as such, else a string."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise RequestInvalid(
            f"'{text}' is not of the form key=value.", "Write for example mask_path=in.nii.gz."
        )
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _show(fraction: float, stage: str) -> None:
    print(f"\r{fraction:4.0%} {stage:<40.40}", end="", file=sys.stderr, flush=True)  # noqa: T201
    if fraction >= 1:
        print(file=sys.stderr)  # noqa: T201


@contextlib.contextmanager
def _interrupts(progress: Progress) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop the work where it cleans up after itself."""
    before = {
        number: signal.signal(number, lambda *_: progress.stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
