"""`python -m nephra_gateway` serves."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import uvicorn

from nephra_contract import logs
from nephra_contract.parent import end_with_parent
from nephra_gateway.app import create
from nephra_gateway.settings import GatewaySettings

#: How long requests have to end after SIGTERM; then they are cancelled, and their work with them.
_GRACE_S = 2


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    logs.configure("gateway")
    try:
        settings = GatewaySettings()
        if settings.exit_with_parent:
            end_with_parent()
        app = create(settings)
    except ValueError as error:
        logs.line("cannot start", why=str(error))
        return 2
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = GatewayServer(config)
    server.run()
    return 0 if server.started else 1


class GatewayServer(uvicorn.Server):
    """Uvicorn that says in the log where it listens, and ends with 0 when it is told to end."""

    async def startup(self, sockets: object = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            logs.line("listening", host=host, port=port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; Uvicorn's own would raise the signal again, and kill the process with it."""
        del frame
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
