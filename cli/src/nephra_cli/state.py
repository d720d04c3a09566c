"""What is remembered of a running nephra: token, lock, log. Never below the data root."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

from nephra_contract.errors import Conflict, PathRefused


@dataclass(frozen=True)
class Running:
    """A nephra that is up, as `nephra up --json` prints it.

    Args:
        url: of the gateway.
        token_file: where the bearer token stands.
        data: the data root.
        log: the file into which all services write.
        pid: of the command that holds the services.
        temporary: whether it is up for one command only.
    """

    url: str
    token_file: str
    data: str
    log: str
    pid: int
    temporary: bool = False


@dataclass(frozen=True)
class Home:
    """The folder of one data root's state.

    Args:
        data: the data root, resolved.
        folder: where its state lies.
    """

    data: Path
    folder: Path

    @classmethod
    def of(cls, data: Path, base: Path | None = None) -> Self:
        """The home of a data root's state below `base`, or the user's state folder.

        Raises:
            PathRefused: that folder would lie in the data root, which is served to callers.
        """
        data = Path(os.path.realpath(data))
        parent = Path(os.path.realpath(base or state_base()))
        folder = parent / hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
        if folder.is_relative_to(data):
            raise PathRefused(
                f"The state folder {parent} lies in the data root, where callers could read it.",
                "Choose another data root, or another folder with --state.",
            )
        return cls(data, folder)

    @property
    def token_file(self) -> Path:
        """The bearer token, readable by its owner only."""
        return self.folder / "token"

    @property
    def digests_file(self) -> Path:
        """SHA-256 of the token: all that the gateway is given."""
        return self.folder / "tokens.sha256"

    @property
    def log(self) -> Path:
        """The one log of all services."""
        return self.folder / "nephra.log"

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold this data root; the system lets go when the process ends, however it ends.

        Raises:
            Conflict: somebody else holds it.
            PathRefused: the state folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise PathRefused(
                f"The state folder {self.folder} cannot be made: {error.strerror}.",
                "Choose another one with --state.",
            ) from error
        with self._lock.open("a") as handle:
            if not _lock(handle):
                raise self._held()
            try:
                yield
            finally:
                self._record.unlink(missing_ok=True)
                self.token_file.unlink(missing_ok=True)
                self.digests_file.unlink(missing_ok=True)

    def issue_token(self) -> str:
        """Make a new token; the old one is worth nothing from then on."""
        token = secrets.token_urlsafe(32)
        _write_private(self.token_file, token + "\n")
        _write_private(self.digests_file, hashlib.sha256(token.encode()).hexdigest() + "\n")
        return token

    def remember(self, running: Running) -> None:
        """Say to other commands what is up here."""
        _write_private(self._record, json.dumps(asdict(running)) + "\n")

    def running(self) -> Running | None:
        """What is up here, if its process still lives."""
        return _read(self.folder) if _is_held(self._lock) else None

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    @property
    def _record(self) -> Path:
        return self.folder / "running.json"

    def _held(self) -> Conflict:
        found = _read(self.folder)
        if found is None:
            return Conflict(
                f"nephra is just starting or ending on {self.data}.", "Try again in a moment."
            )
        if found.temporary:
            return Conflict(
                f"Another nephra command (process {found.pid}) works on {self.data}.",
                "Wait for it; `nephra up` serves many commands at once.",
            )
        return Conflict(
            f"nephra is already up on {self.data}, at {found.url} (process {found.pid}).",
            "Use that one, or stop it first with Ctrl-C.",
        )


def state_base() -> Path:
    """`$XDG_STATE_HOME/nephra`, by default `~/.local/state/nephra`."""
    given = os.environ.get("XDG_STATE_HOME", "")
    parent = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "state"
    return parent / "nephra"


def all_running(base: Path | None = None) -> list[Running]:
    """Every nephra of this user that is up, those of single commands left out."""
    folder = base or state_base()
    if not folder.is_dir():
        return []
    homes = [h for h in sorted(folder.iterdir()) if _is_held(h / "lock")]
    found = [_read(h) for h in homes]
    return [r for r in found if r is not None and not r.temporary]


def _read(folder: Path) -> Running | None:
    try:
        record = json.loads((folder / "running.json").read_text(encoding="utf-8"))
        return Running(**record)
    except (OSError, ValueError, TypeError):
        return None


def _lock(handle: IO[str]) -> bool:
    # Another command that looks whether we are up holds the lock for an instant: try again.
    for _ in range(10):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("r") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _write_private(path: Path, text: str) -> None:
    """Write whole or not at all, mode 0600 from the first moment on."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(text)
    partial.replace(path)
