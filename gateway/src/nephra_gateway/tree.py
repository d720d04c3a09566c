"""Files below the data root, reached folder by folder, so that no link is ever followed.

Every folder on the way is opened by its name in the one before it. Whoever exchanges one for a
symbolic link meanwhile is refused, and not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from nephra_contract.errors import Conflict, FileMissing, PathRefused
from nephra_contract.fences import RESULTS
from nephra_contract.paths import DataRoot

_MEND = "Name the file relative to the data root, for example 'cases/17/arterial.nii.gz'."
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: A pipe would wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NO_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ENXIO)


@dataclass(frozen=True)
class Found:
    """A regular file as it is now.

    Args:
        size: bytes.
        modified_s: since 1970.
        tag: its entity tag; another one with each change.
    """

    size: int
    modified_s: float
    tag: str

    @classmethod
    def of(cls, status: os.stat_result) -> Found:
        """From what the system says."""
        tag = f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
        return cls(status.st_size, status.st_mtime, tag)

    @property
    def modified(self) -> str:
        """ISO 8601, UTC."""
        return datetime.fromtimestamp(self.modified_s, UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Tree:
    """The data root, to be looked at and changed by callers.

    Args:
        data: the data root.
    """

    data: DataRoot

    def parts(self, name: str, *, change: bool = False) -> tuple[str, ...]:
        """The components of a request's path.

        Args:
            change: whether a file shall be made or removed there.

        Raises:
            PathRefused: as `DataRoot.resolve`; or it is hidden, ends in a slash, or is among the
                results and shall be changed.
        """
        resolved = self.data.resolve(name)
        found = PurePosixPath(name).parts
        if name.endswith("/") or any(part.startswith(".") for part in found):
            raise PathRefused("A path in the request is hidden, or a folder's.", _MEND)
        if change and resolved.is_relative_to(self.data.root / RESULTS):
            raise PathRefused(
                "Results cannot be changed.",
                "Choose another folder; results go when no ticket names them any more.",
                code="results_read_only",
            )
        return found

    def real(self, name: str) -> tuple[str, ...]:
        """The components of what a path leads to: links inside of the data root are followed once.

        Raises:
            PathRefused: as `parts`, also of what it leads to.
        """
        self.parts(name)
        real = self.data.resolve(name).relative_to(self.data.root).as_posix()
        return self.parts(real)

    @contextmanager
    def folder(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        """Open a folder; yields its descriptor.

        Raises:
            FileMissing: it is not there, or something on the way is a file or a link.
            Conflict: likewise, where it had to be made.
            PathRefused: a name on the way is too long.
            OSError: the data root cannot be used.
        """
        handle = os.open(self.data.root, _FOLDER)
        try:
            for part in parts:
                with _named(part, make=make):
                    if make:
                        _make(part, handle)
                    inner = os.open(part, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)

    def open(self, parts: tuple[str, ...]) -> tuple[int, Found]:
        """Open a regular file for reading: its descriptor, and what it is.

        Raises:
            FileMissing, PathRefused, OSError: as `folder`.
        """
        with self.folder(parts[:-1]) as folder, _named(parts[-1]):
            handle = os.open(parts[-1], _FILE, dir_fd=folder)
        try:
            return handle, _regular(os.fstat(handle), parts[-1])
        except BaseException:
            os.close(handle)
            raise

    def find(self, parts: tuple[str, ...]) -> Found | None:
        """What is there; None: nothing.

        Raises:
            PathRefused, OSError: as `folder`; or it is no regular file.
        """
        try:
            with self.folder(parts[:-1]) as folder:
                return look(folder, parts[-1])
        except FileMissing:
            return None

    def remove(self, parts: tuple[str, ...]) -> None:
        """Remove a file.

        Raises:
            FileMissing, PathRefused, OSError: as `folder`; or it is no regular file.
        """
        with self.folder(parts[:-1]) as folder, _named(parts[-1]):
            _regular(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False), parts[-1])
            os.unlink(parts[-1], dir_fd=folder)
            sync_folder(folder)

    def list(self, parts: tuple[str, ...]) -> tuple[list[str], list[tuple[str, Found]]]:
        """The folders and files of one folder, in order of their names.

        What is hidden, has no name that a request could have, or leads out is left out.

        Raises:
            FileMissing, PathRefused, OSError: as `folder`.
        """
        folders: list[str] = []
        files: list[tuple[str, Found]] = []
        with self.folder(parts) as folder, os.scandir(folder) as entries:
            for entry in entries:
                name = "/".join((*parts, entry.name))
                if entry.is_symlink() and not self._inside(name):
                    continue
                try:
                    status = os.stat(entry.name, dir_fd=folder)
                except OSError:
                    continue  # gone meanwhile, or a link to nothing
                if entry.name.startswith(".") or not entry.name.isprintable():
                    continue
                if stat.S_ISDIR(status.st_mode):
                    folders.append(name)
                elif stat.S_ISREG(status.st_mode):
                    files.append((name, Found.of(status)))
        return sorted(folders), sorted(files)

    def _inside(self, name: str) -> bool:
        try:
            self.real(name)
        except PathRefused:
            return False
        return True


def look(folder: int, name: str) -> Found | None:
    """What regular file a folder has under a name; None: nothing.

    Raises:
        PathRefused: something else is there, or the name is too long.
    """
    try:
        with _named(name):
            return _regular(os.stat(name, dir_fd=folder, follow_symlinks=False), name)
    except FileMissing:
        return None


def sync_folder(folder: int) -> None:
    """Let a rename in it outlast a power cut; some network file systems do that themselves."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _make(part: str, folder: int) -> None:
    try:
        os.mkdir(part, dir_fd=folder)
        sync_folder(folder)
    except FileExistsError:
        pass


def _regular(status: os.stat_result, name: str) -> Found:
    if stat.S_ISDIR(status.st_mode):
        raise PathRefused(f"'{name}' is a directory.", "Name a file.", code="path_is_directory")
    if not stat.S_ISREG(status.st_mode):
        raise PathRefused(f"'{name}' is not a regular file.", "Name a regular file.")
    return Found.of(status)


@contextmanager
def _named(part: str, *, make: bool = False) -> Iterator[None]:
    """What the system says of one name on the way, as an error for who sent it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and make:
            raise Conflict(
                f"'{part}' is no folder, or a link that is not followed.",
                _MEND,
                code="path_not_a_folder",
            ) from error
        if error.errno in _NOT_THERE:
            raise FileMissing(
                f"There is no '{part}' in the data root at this path.",
                "Upload the file first, or mend the path.",
            ) from error
        if error.errno in _NO_NAME:
            raise PathRefused(f"'{part[:80]}' is no name for a file here.", _MEND) from error
        if error.errno == errno.EACCES and not make:
            raise PathRefused(f"'{part}' cannot be opened.", _MEND) from error
        raise
