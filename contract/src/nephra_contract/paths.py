"""From the path in a request to a file below the data root, and nowhere else."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nephra_contract.errors import FileMissing, PathRefused

#: A folder below the data root that is not for requests: the gateway's own.
PRIVATE = ".nephra"

_MAX_PATH_CHARS = 1024
_MEND = "Name the file relative to the data root, for example 'cases/17/arterial.nii.gz'."


@dataclass(frozen=True)
class DataRoot:
    """The folder (a PersistentVolumeClaim) where images, masks and meshes live.

    Args:
        root: an existing directory; symbolic links in it are resolved once.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(os.path.realpath(self.root)))

    def resolve(self, name: str) -> Path:
        """Turn a request's path into an absolute one below the root; it need not exist.

        Both sides are resolved, then compared by components, so that `..`, absolute paths
        and symbolic links that lead out are all caught by the same comparison.

        Raises:
            PathRefused: the name is empty, too long, absolute, holds NUL, a backslash or
                `..`, leads out of the root, or into what is private there.
        """
        pure = PurePosixPath(name)
        if not name.strip() or len(name) > _MAX_PATH_CHARS or not name.isprintable():
            raise PathRefused("A path in the request is empty, too long or not text.", _MEND)
        if pure.is_absolute() or "\\" in name or ".." in pure.parts or name.startswith("~"):
            raise PathRefused("A path in the request is not relative to the data root.", _MEND)
        try:
            path = Path(os.path.realpath(self.root / pure))
        except (OSError, ValueError) as error:
            raise PathRefused("A path in the request cannot be followed.", _MEND) from error
        if not path.is_relative_to(self.root) or path == self.root:
            raise PathRefused("A path in the request leads out of the data root.", _MEND)
        if path.is_relative_to(self.root / PRIVATE):
            raise PathRefused("A path in the request leads into nephra's own folder.", _MEND)
        return path

    def file(self, name: str) -> Path:
        """Resolve the name of an existing regular file.

        Raises:
            PathRefused: as `resolve`, or it is a directory, device, pipe or socket.
            FileMissing: nothing is there.
        """
        path = self.resolve(name)
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileMissing(
                f"There is no file '{name}' in the data root.",
                "Upload the file first, or mend the path.",
            ) from error
        except OSError as error:
            raise PathRefused(f"'{name}' cannot be opened.", _MEND) from error
        if stat.S_ISDIR(mode):
            raise PathRefused(
                f"'{name}' is a directory.", "Name one NIfTI file.", code="path_is_directory"
            )
        if not stat.S_ISREG(mode):
            raise PathRefused(f"'{name}' is not a regular file.", "Name one NIfTI file.")
        return path

    def name(self, path: Path) -> str:
        """The name by which a request would call this file: relative, with forward slashes."""
        return Path(os.path.realpath(path)).relative_to(self.root).as_posix()
