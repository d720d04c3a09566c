"""Services that start at once, for tests of how processes are held together.

`python toy_services.py` followed by the arguments of `nephra` runs that command with this file
as the module of every service. `python -m toy_services` is one: it answers `/readyz` and lives
until it is told to end; TOY_FAILS names a module that ends with a word instead.
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nephra_contract.parent import end_with_parent


class Ready(BaseHTTPRequestHandler):
    """Ready from the first moment on."""

    def do_GET(self) -> None:
        """Answer 200 to everything."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def serve() -> None:
    """Be a service."""
    if os.environ.get("NEPHRA_EXIT_WITH_PARENT") == "1":
        end_with_parent()
    is_gateway = "NEPHRA_PREDICTORS" in os.environ
    if not is_gateway and os.environ.get("TOY_FAILS"):
        sys.exit("the toy is broken")
    address = (os.environ["NEPHRA_HOST"], int(os.environ["NEPHRA_PORT"]))
    ThreadingHTTPServer(address, Ready).serve_forever()


def command() -> None:
    """Be the command line, with toys for services."""
    from nephra_cli import services
    from nephra_cli.__main__ import main

    here = Path(__file__)
    os.environ["PYTHONPATH"] = str(here.parent)
    sys.path.insert(0, str(here.parent))
    services.PREDICTORS = dict.fromkeys(("one", "two", "three"), here.stem)
    services.GATEWAY = here.stem
    main()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        command()
    else:
        serve()
