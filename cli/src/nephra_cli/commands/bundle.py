"""`nephra bundle`: hands over to the nnU-Net predictor's own command."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import typer

from nephra_contract.errors import Unavailable

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_MODULE = "nephra_nnunet"


def bundle(context: typer.Context) -> None:
    """Add, check or list nnU-Net bundles: bundle add|check|list ARGUMENTS."""
    if importlib.util.find_spec(_MODULE) is None:
        raise Unavailable(
            "The nnU-Net predictor is not installed here.",
            "Install it with `pip install nephra-cli[local]`.",
            code="services_missing",
        )
    command = [sys.executable, "-m", _MODULE, "bundle", *context.args]
    ended = subprocess.run(command, check=False)  # noqa: S603 - our own module, no shell
    raise typer.Exit(ended.returncode)
