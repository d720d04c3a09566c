"""`nephra check`: whether an installation does what it is for."""

from __future__ import annotations

import typer

from nephra_cli import screen
from nephra_cli.connection import (
    DataOption,
    JsonOption,
    StateOption,
    Target,
    TokenFileOption,
    UrlOption,
    connect,
)
from nephra_contract.errors import RequestInvalid
from nephra_contract.paths import DataRoot

_SIGNS = {"passed": "✓ passed", "failed": "✗ FAILED", "skipped": "– skipped"}


def check(
    data: DataOption = None,
    state: StateOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a small synthetic patient through an installation and see what comes of it.

    What is written into the data root for that is removed again. The exit status is 0 if all
    that could be checked is well, else 1.
    """
    # Here, so that other commands do not wait for it.
    from nephra_cli.check.findings import Findings
    from nephra_cli.check.installation import Installation, cleared, fresh_folder
    from nephra_cli.check.specimen import Specimen
    from nephra_cli.check.steps import Steps

    findings = Findings()
    with connect(Target(data, state, url, token_file)) as gateway:
        if gateway.data is None or not gateway.data.is_dir():
            raise RequestInvalid(
                "The check needs the data root of the gateway, as a folder of this machine.",
                "Name it with --data.",
            )
        specimen = Specimen()
        root = DataRoot(gateway.data)
        there = Installation(gateway.client, root, fresh_folder(root))
        with cleared(there, lambda: findings.run("tidiness", there.clear)):
            Steps(there, specimen).run(findings)
    if as_json:
        screen.show_json({"good": findings.good, "checks": findings.described()})
    else:
        rows = [[f.name, _SIGNS[f.verdict], f.seconds, f.said] for f in findings.all]
        screen.show_table("check", ["what", "verdict", "seconds", "found"], rows)
    if not findings.good:
        raise typer.Exit(1)
