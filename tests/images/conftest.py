"""Tests of how images are made; none of them needs a container engine."""

from __future__ import annotations

import sys
from pathlib import Path

# The folder `images` is no installed package.
if (_root := str(Path(__file__).resolve().parents[2])) not in sys.path:
    sys.path.insert(0, _root)
