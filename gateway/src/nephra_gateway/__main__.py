"""`python -m nephra_gateway` serves; `python -m nephra_gateway migrate` prepares its database."""

from __future__ import annotations

import signal
import sys

from nephra_contract import logs


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT, or migrate; gives the process's exit status."""
    logs.configure("gateway")
    if arguments == ["migrate"]:
        return migrate()
    if arguments:
        logs.line("cannot start", why="the only argument there is is `migrate`")
        return 2
    # Until the server listens to signals itself. The first process of a container has no
    # default: there SIGTERM would be ignored, and the pod would wait for its grace to pass.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # It takes a second or more to import.
    from nephra_gateway.server import serve

    return serve()


def migrate() -> int:
    """Bring the schema of the database to what this version needs."""
    from nephra_contract.errors import Unavailable
    from nephra_gateway.settings import GatewaySettings
    from nephra_gateway.store.database import Database

    try:
        Database.of(GatewaySettings().database_url).migrate()
    except ValueError as error:
        logs.line("cannot migrate", why=str(error))
        return 2
    except Unavailable as error:
        logs.line("cannot migrate", why=error.detail)  # the line before says what was found
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
