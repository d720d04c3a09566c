"""A synthetic abdomen with kidneys, given by implicit functions: images and known truth."""

from nephra_phantom.fills import PHASES, Phase
from nephra_phantom.grid import FIELD_OF_VIEW_MM, PRESETS, Grid, centred
from nephra_phantom.phantom import Phantom
from nephra_phantom.shapes import Tube
from nephra_phantom.surface import Surface

__all__ = [
    "FIELD_OF_VIEW_MM",
    "PHASES",
    "PRESETS",
    "Grid",
    "Phantom",
    "Phase",
    "Surface",
    "Tube",
    "centred",
]
