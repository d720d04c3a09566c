"""Uploads on their way: bytes that belong to no path yet, in a folder of nephra's own."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nephra_contract.errors import Conflict, FileMissing
from nephra_contract.paths import PRIVATE, DataRoot
from nephra_gateway.fields import Span
from nephra_gateway.staged import BLOCK_BYTES, Staged
from nephra_gateway.tree import Tree, sync_folder

#: What is not touched for longer than a day nobody goes on with.
STALE_S = 86400.0

_PART = ".part"
_LOCKS = "locks"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)

#: Somebody may remove a folder between its making and the file's coming.
_PUBLICATIONS = 3


class OffsetWrong(Conflict):
    """A part that does not begin where the last one has ended.

    Args:
        offset: where it has.
    """

    default_code = "offset_mismatch"

    def __init__(self, offset: int) -> None:
        super().__init__(
            f"The upload has {offset} bytes so far, and this part does not begin there.",
            "Go on from 'Upload-Offset' of HEAD, or begin again at 0.",
            offset=offset,
        )
        self.offset = offset


@dataclass(frozen=True)
class Staging:
    """Where uploads are received.

    Args:
        data: the data root.
    """

    data: DataRoot

    @property
    def home(self) -> Path:
        """The folder, made when it is needed."""
        folder = self.data.root
        for name in (PRIVATE, "uploads"):  # the data root itself has to be there
            folder /= name
            folder.mkdir(exist_ok=True)
        return folder

    def free_bytes(self) -> int:
        """The room that is left."""
        return shutil.disk_usage(self.home).free

    def begin(self) -> Staged:
        """Receive what comes at once.

        Raises:
            OSError: the data root cannot be written.
        """
        path = self.home / uuid.uuid4().hex
        return Staged(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))

    def resume(self, key: str, span: Span) -> Staged:
        """Receive a part; the first one begins anew.

        Args:
            key: of who uploads what; see `key_of`.

        Raises:
            OffsetWrong: it does not follow on what is there.
            Conflict: another part is being received.
            OSError: the data root cannot be written.
        """
        path = self.home / f"{key}-{span.total}{_PART}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            self._hold(path, handle)
            size = os.fstat(handle).st_size
            if span.start == 0:
                os.ftruncate(handle, 0)
                self._drop_others(key, path)
            elif span.start != size:
                if size == 0:
                    path.unlink()
                raise OffsetWrong(size)
            return Staged(path, handle, span.start)
        except BaseException:
            os.close(handle)
            raise

    def offset(self, key: str) -> tuple[int, int] | None:
        """How many bytes of how many are there; None: no part."""
        found: list[tuple[float, int, int]] = []
        for path in self._parts(key):
            with suppress(FileNotFoundError):
                status, total = path.stat(), path.name[len(key) + 1 : -len(_PART)]
                found.append((status.st_mtime, status.st_size, int(total)))
        return max(found)[1:] if found else None

    def abandon(self, key: str) -> bool:
        """Forget the parts of an upload; says whether there were any."""
        parts = list(self._parts(key))
        for path in parts:
            path.unlink(missing_ok=True)
        return bool(parts)

    def sweep(self, older_than_s: float = STALE_S) -> int:
        """Remove what nobody has touched for so long; says how many."""
        oldest, count = time.time() - older_than_s, 0
        for path in self.home.iterdir():
            with suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_mtime < oldest:
                    path.unlink()
                    count += 1
        return count

    @contextmanager
    def alone(self, parts: tuple[str, ...]) -> Iterator[None]:
        """While nobody else publishes or removes at this path, of whichever gateway."""
        folder = self.home / _LOCKS
        folder.mkdir(exist_ok=True)
        stripe = hashlib.sha256("/".join(parts).encode()).hexdigest()[:2]
        handle = os.open(folder / stripe, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def publish(self, staged: Staged, tree: Tree, parts: tuple[str, ...]) -> None:
        """Put a received file where it belongs, at once.

        Raises:
            NephraError: there is no way to that place, or the upload was begun anew meanwhile.
            OSError: the data root cannot be written.
        """
        for left in reversed(range(_PUBLICATIONS)):
            try:
                with tree.folder(parts[:-1], make=True) as folder:
                    _rename(staged, folder, parts[-1])
                    sync_folder(folder)
                return
            except (FileNotFoundError, FileMissing) as error:
                if not staged.path.exists():
                    raise Conflict(
                        "This upload was begun anew, or abandoned, meanwhile.",
                        "Send the parts one after the other, from one place.",
                        code="upload_gone",
                    ) from error
                if left == 0:
                    raise

    def _parts(self, key: str) -> Iterator[Path]:
        return self.home.glob(f"{key}-*{_PART}")

    def _drop_others(self, key: str, kept: Path) -> None:
        """Who begins again with a file of another length does not go on with the old one."""
        for path in self._parts(key):
            if path != kept:
                path.unlink(missing_ok=True)

    def _hold(self, path: Path, handle: int) -> None:
        """Keep others from the part; it may have been published since it was opened."""
        busy = Conflict(
            "Another part of this upload is being received.",
            "Send the parts one after the other; HEAD says where to go on.",
            code="upload_busy",
        )
        try:
            _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy from error
        try:
            if not os.path.samestat(path.stat(), os.fstat(handle)):
                raise busy
        except FileNotFoundError as error:
            raise busy from error


def key_of(owner: str, parts: tuple[str, ...]) -> str:
    """What tells an upload from others: nobody goes on with somebody else's."""
    return hashlib.sha256(f"{owner}\0{'/'.join(parts)}".encode()).hexdigest()[:32]


def _lock(handle: int, how: int) -> None:
    """As far as the file system has locks."""
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _rename(staged: Staged, folder: int, name: str) -> None:
    try:
        os.rename(staged.path, name, dst_dir_fd=folder)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(staged, folder, name)
        staged.drop()
    staged.published = True


def _copy(staged: Staged, folder: int, name: str) -> None:
    """Into another file system that is mounted below the data root."""
    partial = f".{uuid.uuid4().hex}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    handle = os.open(partial, flags, 0o666, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as target:
            for offset in range(0, staged.size, BLOCK_BYTES):
                target.write(os.pread(staged.handle, BLOCK_BYTES, offset))
            target.flush()
            os.fsync(target.fileno())
        os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=folder)
        raise
