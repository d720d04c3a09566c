"""The phantom: images, label maps, surfaces and centre lines of one synthetic patient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nephra_contract.volume import LabelMap, Volume
from nephra_phantom.anatomy import Anatomy, build_anatomy
from nephra_phantom.fills import Phase
from nephra_phantom.grid import Grid
from nephra_phantom.motion import Motion, draw_motion
from nephra_phantom.noise import Noise, draw_noise
from nephra_phantom.painting import Painter
from nephra_phantom.shapes import Tube
from nephra_phantom.surface import Surface, extract


@dataclass(frozen=True)
class Phantom:
    """A synthetic patient: the same seed is the same patient on every grid and in every phase."""

    seed: int

    @cached_property
    def anatomy(self) -> Anatomy:
        """Structures and tubes at rest."""
        return build_anatomy(self.seed)

    def motion(self, phase: Phase) -> Motion:
        """How the patient lies in a phase."""
        return draw_motion(self.seed, phase)

    def volume(
        self,
        phase: Phase,
        grid: Grid,
        noise: Noise | None = None,
        blur_mm: float | None = None,
    ) -> Volume:
        """A phase as int16 HU, with partial volume and noise.

        Edges are softened over ``blur_mm``, one voxel's width if not given; ``noise`` is drawn
        from the seed if not given.
        """
        painter = Painter(self.anatomy.structures, self.motion(phase), grid)
        voxels = painter.image(phase, noise or draw_noise(self.seed, phase), blur_mm)
        return Volume(voxels, grid.affine)

    def labels(self, grid: Grid, phase: Phase = "A") -> LabelMap:
        """The truth: what lies at each voxel's centre in a phase, in our numbers (uint8)."""
        painter = Painter(self.anatomy.structures, self.motion(phase), grid)
        return LabelMap(painter.labels(), grid.affine)

    def surface(self, label: int, spacing_mm: float = 1.0, phase: Phase = "A") -> Surface:
        """The true surface of a label number, from the implicit functions sampled finely."""
        return extract(self.anatomy.structures, self.motion(phase), label, spacing_mm)

    def centerlines(self, phase: Phase = "A") -> dict[str, list[Tube]]:
        """Centre lines with radii in mm of vessels, pelves and ureters, by name."""
        motion = self.motion(phase)
        return {
            name: [Tube(motion.from_rest(one.points), one.radii) for one in tubes]
            for name, tubes in self.anatomy.tubes.items()
        }
