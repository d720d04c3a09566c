"""Numbers as lines of text, many at once: numpy writes the digits, not Python."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DECIMALS = 4
_BLOCK = 1 << 17


def fixed_point(prefix: bytes, values: NDArray[np.float64]) -> bytes:
    """One line per row: the prefix, then each value with four decimals.

    Args:
        prefix: what each line begins with, for example `b"v"`.
        values: (N, C), of magnitude below 1e9.

    Returns:
        ASCII, each line ended by a line feed.
    """
    scaled = np.rint(values * 10**_DECIMALS).astype(np.int64)
    return _lines(prefix, scaled, _DECIMALS)


def whole(prefix: bytes, values: NDArray[np.int64]) -> bytes:
    """One line per row: the prefix, then each (non-negative) whole number; see `fixed_point`."""
    return _lines(prefix, np.asarray(values, dtype=np.int64), 0)


def doubled(prefix: bytes, values: NDArray[np.int64]) -> bytes:
    """As `whole`, with each number written as `n//n`: OBJ's vertex and its normal."""
    pairs = np.repeat(np.asarray(values, dtype=np.int64), 2, axis=1)
    return _lines(prefix, pairs, 0, (b"\0 ", b"//"))


def _lines(
    prefix: bytes, scaled: NDArray[np.int64], decimals: int, before: tuple[bytes, ...] = (b"\0 ",)
) -> bytes:
    """Block by block, so that the scratch array stays small.

    Args:
        before: two bytes before the first value of a line, the second, … and again.
    """
    blocks = (scaled[i : i + _BLOCK] for i in range(0, len(scaled), _BLOCK))
    return b"".join(_block(prefix, block, decimals, before) for block in blocks)


def _block(
    prefix: bytes, scaled: NDArray[np.int64], decimals: int, before: tuple[bytes, ...]
) -> bytes:
    """Digits go right-aligned into cells of equal width; bytes that stay 0 are left out."""
    rows, columns = scaled.shape
    magnitude = np.abs(scaled)
    if magnitude.max(initial=0) < 1 << 31:
        magnitude = magnitude.astype(np.uint32)
    digits = max(len(str(int(magnitude.max(initial=0)))), decimals + 1)
    width = 3 + digits + (1 if decimals else 0)  # separator, sign, digits, point
    cells = np.zeros((rows, columns, width), dtype=np.uint8)
    for column in range(columns):
        cells[:, column, :2] = np.frombuffer(before[column % len(before)], dtype=np.uint8)
    cells[..., 2] = np.where(scaled < 0, ord("-"), 0)
    column, rest = width - 1, magnitude
    for place in range(digits):
        if decimals and place == decimals:
            cells[..., column] = ord(".")
            column -= 1
        # A division by a constant is fast, its remainder is not.
        tenth = rest // 10
        digit = rest - 10 * tenth
        rest = tenth
        # A leading zero is not written, the one before the point is.
        needed = (magnitude >= 10**place) | (place <= decimals)
        cells[..., column] = np.where(needed, digit + ord("0"), 0)
        column -= 1
    text = np.empty((rows, len(prefix) + columns * width + 1), dtype=np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    text[:, len(prefix) : -1] = cells.reshape(rows, -1)
    text[:, -1] = ord("\n")
    return bytes(text[text != 0].tobytes())
