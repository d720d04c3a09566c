"""The command line as a whole: its commands, and what becomes of errors."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nephra_cli import screen
from nephra_cli.commands import bench, bundle, case, check, demo, lists, run, tickets, up
from nephra_cli.following import INTERRUPTED
from nephra_contract.errors import NephraError


class Sentences(TyperGroup):
    """The border: an error becomes a sentence and an action, never a stack trace."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see the class."""
        try:
            return super().invoke(ctx)
        except NephraError as error:
            screen.say(f"nephra: {error.detail}")
            if error.action:
                screen.say(f"  {error.action}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            screen.say("nephra: cancelled.")
            raise typer.Exit(INTERRUPTED) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            # Usage errors of the command-line library know their own exit status.
            if hasattr(error, "exit_code") or os.environ.get("NEPHRA_DEBUG"):
                raise
            screen.say(f"nephra: this is a defect of nephra ({type(error).__name__}).")
            screen.say("  Run it again with NEPHRA_DEBUG=1 and report what it prints.")
            raise typer.Exit(1) from error


app = typer.Typer(
    name="nephra",
    cls=Sentences,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nephra {version('nephra-cli')}")
        raise typer.Exit


@app.callback()
def nephra(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """CT phases of a kidney patient in, one named 3D scene out."""


app.command("up")(up.up)
app.command("case")(case.case)
app.command("run")(run.run)
app.command("tickets")(tickets.tickets)
app.command("watch")(tickets.watch)
app.command("cancel")(tickets.cancel)
app.command("labels")(lists.labels)
app.command("operations")(lists.operations)
app.command("bundles")(lists.bundles)
app.command("bundle", context_settings=bundle.PASS_ON, add_help_option=False)(bundle.bundle)
app.add_typer(bench.bench, name="bench")
app.command("demo")(demo.demo)
app.command("check")(check.check)
