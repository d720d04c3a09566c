"""What of a shared object comes into memory, to show that stripping it changed nothing there.

Of a library that a wheel's maker has patched, `strip` may leave a file that does not load, or
another one than before. So a stripped file is taken only if its memory image is the same.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"\x7fELF"
_LOAD = 1
#: Offset of the program headers, of the sections; sizes and numbers of both (ELF64, little endian).
_HEADER = struct.Struct("<32xQQ4xHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


@dataclass(frozen=True)
class Segment:
    """A part of the file as it comes into memory.

    Attributes:
        kind: p_type.
        flags: readable, writable, executable.
        address: where it goes.
        size: in memory, in bytes.
        content: what is read from the file; without the tables that only say where things lie
            in the file.
    """

    kind: int
    flags: int
    address: int
    size: int
    content: bytes


def is_elf(path: Path) -> bool:
    """Whether it is a program, library or extension module."""
    with path.open("rb") as file:
        return file.read(4) == _MAGIC


def memory_image(path: Path) -> list[Segment] | None:
    """All segments, or None if the file is not made so that it can be loaded."""
    content = bytearray(path.read_bytes())
    table, _, _, entry_size, count, *_ = _HEADER.unpack_from(content)
    headers = [_PROGRAM_HEADER.unpack_from(content, table + n * entry_size) for n in range(count)]
    content[: _HEADER.size] = bytes(_HEADER.size)
    content[table : table + count * entry_size] = bytes(count * entry_size)
    segments = []
    for kind, flags, offset, address, _, file_size, size, alignment in headers:
        if offset + file_size > len(content):
            return None
        if kind == _LOAD and alignment and (address - offset) % alignment:
            return None
        segments.append(
            Segment(kind, flags, address, size, bytes(content[offset : offset + file_size]))
        )
    return segments
