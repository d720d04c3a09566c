"""The images of one request: each read once, and brought onto one grid where a model wants it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nephra_contract.errors import Refused
from nephra_contract.nifti_header import NiftiHeader
from nephra_contract.progress import Progress
from nephra_nnunet.alignment import check_overlap, onto
from nephra_nnunet.body import body_midline_x_mm
from nephra_nnunet.cache import SMALL_BYTES, ByteCache
from nephra_nnunet.manifest import Phase
from nephra_nnunet.memory import Scan
from nephra_nnunet.phases import PHASE_NAMES
from nephra_nnunet.preparation import Image
from nephra_nnunet.reader import Reader


@dataclass
class Images:
    """The images of one request, by phase; None is the one image of unnamed phase.

    Args:
        paths: where they lie.
        members: what the request calls them, for errors.
        reader: reads them.
        cache: keeps what was read for the next request with files of the same content.
        reads: by path, how often this request read it.
    """

    paths: Mapping[Phase | None, Path]
    members: Mapping[Phase | None, str]
    reader: Reader
    cache: ByteCache
    reads: Counter[Path] = field(default_factory=Counter)
    _headers: dict[Path, NiftiHeader] = field(default_factory=dict)
    _read: dict[Path, Image] = field(default_factory=dict)
    _aligned: dict[tuple[Phase | None, Phase | None], Image] = field(default_factory=dict)

    def header(self, phase: Phase | None) -> NiftiHeader:
        """What the file of a phase announces.

        Raises:
            Refused: as `Reader.header`, with the request's member that names the file.
        """
        path = self.paths[phase]
        if path not in self._headers:
            with self._naming(phase):
                self._headers[path] = self.reader.header(path)
        return self._headers[path]

    def scan(self, phase: Phase | None) -> Scan:
        """What the memory estimate has to know of a phase's image."""
        header = self.header(phase)
        return Scan(header.shape, header.affine, header.dtype.itemsize)

    def image(self, phase: Phase | None) -> Image:
        """The image of a phase; its file is read at the first call, and never again.

        Raises:
            Refused: as `Reader.read`, with the request's member that names the file.
        """
        path = self.paths[phase]
        if path not in self._read:
            with self._naming(phase):
                self._read[path] = self._recall(path)
        return self._read[path]

    def check_together(self, phases: tuple[Phase | None, ...]) -> None:
        """Read these phases, and refuse those that do not lie over each other.

        Raises:
            PhasesApart: two of them share no part of space.
        """
        for phase in phases[1:]:
            check_overlap(
                self.image(phase).volume, self.image(phases[0]).volume, _names(phase, phases[0])
            )

    def channels(self, phases: tuple[Phase | None, ...], progress: Progress) -> list[Image]:
        """One image per channel, all on the grid of the first channel's."""
        return [self._on_grid(phase, phases[0], progress) for phase in phases]

    def midline_x_mm(self, phase: Phase | None) -> float | None:
        """World x of the body's midline in a phase, worked out once for each content."""
        image = self.image(phase)
        found: tuple[float | None] | None = self.cache.get(("midline", image.key))
        if found is None:
            found = (body_midline_x_mm(image.volume),)
            self.cache.put(("midline", image.key), found, SMALL_BYTES)
        return found[0]

    def _recall(self, path: Path) -> Image:
        """From the cache, by the file's content; else from the file."""
        before = _version(path)
        key = self.reader.digest(path)
        kept: Image | None = self.cache.get(("image", key))
        if kept is not None:
            return kept
        self.reads[path] += 1
        read = Image(self.reader.read(path), key)
        if _version(path) != before:
            # The file was exchanged meanwhile: nobody else is to get this by the old content.
            return Image(read.volume, object())
        self.cache.put(("image", key), read, read.volume.voxels.nbytes)
        return read

    def _on_grid(self, phase: Phase | None, grid: Phase | None, progress: Progress) -> Image:
        own, target = self.image(phase), self.image(grid)
        if own is target:
            return own
        if (phase, grid) not in self._aligned:
            self._aligned[phase, grid] = self._align(own, target, _names(phase, grid), progress)
        return self._aligned[phase, grid]

    def _align(self, own: Image, target: Image, said: tuple[str, str], progress: Progress) -> Image:
        key = ("aligned", own.key, target.key)
        kept: Image | None = self.cache.get(key)
        if kept is None:
            moved = onto(own.volume, target.volume, said, progress)
            if moved is own.volume:
                return own
            kept = Image(moved, key)
            self.cache.put(key, kept, moved.voxels.nbytes)
        return kept

    @contextmanager
    def _naming(self, phase: Phase | None) -> Iterator[None]:
        """Errors say which member of the request names the file."""
        try:
            yield
        except Refused as error:
            error.extra.setdefault("member", self.members[phase])
            raise


def _version(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _names(first: Phase | None, second: Phase | None) -> tuple[str, str]:
    return PHASE_NAMES.get(first or "", "the image"), PHASE_NAMES.get(second or "", "the image")
