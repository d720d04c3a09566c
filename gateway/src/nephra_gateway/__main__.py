"""`python -m nephra_gateway` serves."""

from __future__ import annotations

import signal
import sys

from nephra_contract import logs


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    logs.configure("gateway")
    # Until the server listens to signals itself. The first process of a container has no
    # default: there SIGTERM would be ignored, and the pod would wait for its grace to pass.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # It takes a second or more to import.
    from nephra_gateway.server import serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
