"""The images of one request: each read once, and brought onto one grid where a model wants it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nephra_contract.errors import Refused
from nephra_contract.progress import Progress
from nephra_nnunet.alignment import check_overlap, onto
from nephra_nnunet.body import body_midline_x_mm
from nephra_nnunet.manifest import Phase
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
        reads: by path, how often this request read it.
    """

    paths: Mapping[Phase | None, Path]
    members: Mapping[Phase | None, str]
    reader: Reader
    reads: Counter[Path] = field(default_factory=Counter)
    _read: dict[Path, Image] = field(default_factory=dict)
    _aligned: dict[tuple[Phase | None, Phase | None], Image] = field(default_factory=dict)
    _midlines: dict[Phase | None, float | None] = field(default_factory=dict)

    def image(self, phase: Phase | None) -> Image:
        """The image of a phase; its file is read at the first call, and never again.

        Raises:
            Refused: as `Reader.read`, with the request's member that names the file.
        """
        path = self.paths[phase]
        if path not in self._read:
            self.reads[path] += 1
            try:
                self._read[path] = Image(self.reader.read(path), path)
            except Refused as error:
                error.extra.setdefault("member", self.members[phase])
                raise
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
        """World x of the body's midline in a phase, worked out at the first call."""
        if phase not in self._midlines:
            self._midlines[phase] = body_midline_x_mm(self.image(phase).volume)
        return self._midlines[phase]

    def _on_grid(self, phase: Phase | None, grid: Phase | None, progress: Progress) -> Image:
        own, target = self.image(phase), self.image(grid)
        if own is target:
            return own
        if (phase, grid) not in self._aligned:
            moved = onto(own.volume, target.volume, _names(phase, grid), progress)
            same = moved is own.volume
            self._aligned[phase, grid] = own if same else Image(moved, (own.key, target.key))
        return self._aligned[phase, grid]


def _names(first: Phase | None, second: Phase | None) -> tuple[str, str]:
    return PHASE_NAMES.get(first or "", "the image"), PHASE_NAMES.get(second or "", "the image")
