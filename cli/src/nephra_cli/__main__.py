"""`nephra` and `python -m nephra_cli`."""

import signal
from types import FrameType

from nephra_cli.app import app
from nephra_cli.following import Told


def main() -> None:
    """Run the command line."""
    # Being told to end is like Ctrl-C: what was started for this command ends with it.
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Told


if __name__ == "__main__":
    main()
