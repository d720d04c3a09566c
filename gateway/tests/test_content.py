"""What a file holds is told by its voxels and affine, and found out once."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract.paths import DataRoot
from nephra_gateway import content, fingerprint
from nephra_gateway.content import Contents
from nephra_gateway.fingerprint import Content

AFFINE = np.array([[-0.75, 0, 0, 90], [0, -0.75, 0, 80], [0, 0, 2.5, -300], [0, 0, 0, 1]])
T = TypeVar("T")


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """An empty data root."""
    return DataRoot(tmp_path)


def ask(root: DataRoot, work: Callable[[Contents], Awaitable[T]], max_voxels: int = 10**8) -> T:
    """Do something with fresh contents."""

    async def main() -> T:
        contents = Contents(root, max_voxels)
        try:
            return await work(contents)
        finally:
            await contents.close()

    return asyncio.run(main())


def of(root: DataRoot, name: str, max_voxels: int = 10**8) -> Content | None:
    """What fresh contents say of a file."""
    return ask(root, lambda c: c.of(name), max_voxels)


def values(shape: tuple[int, ...] = (30, 20, 10)) -> NDArray[np.int16]:
    """A CT's values, reproducible."""
    return np.random.default_rng(5).integers(-1024, 3000, shape).astype(np.int16)


def save(
    path: Path,
    voxels: NDArray[Any],
    affine: NDArray[Any] = AFFINE,
    kind: type[Any] = nib.Nifti1Image,
    scaling: tuple[float, float] = (1, 0),
) -> None:
    """Write voxels as they are stored, with a scaling that says what they mean."""
    image = kind(voxels, affine, dtype=voxels.dtype)
    image.header.set_slope_inter(*scaling)
    # The bytes are laid out by hand: nibabel would scale them itself.
    header = image.header.copy()
    header.set_data_offset(544 if kind is nib.Nifti2Image else 352)
    raw = header.binaryblock
    start = raw + b"\0" * (int(header["vox_offset"]) - len(raw))
    data = start + voxels.tobytes(order="F")
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)


def same_values() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Many files of one image."""
    voxels = values()
    yield "plain.nii", lambda p: save(p, voxels)
    yield "packed.nii.gz", lambda p: save(p, voxels)
    yield "wide.nii.gz", lambda p: save(p, voxels.astype(np.int32))
    yield "long.nii", lambda p: save(p, voxels.astype(np.int64))
    yield "single.nii.gz", lambda p: save(p, voxels.astype(np.float32))
    yield "double.nii", lambda p: save(p, voxels.astype(np.float64))
    yield "nifti2.nii.gz", lambda p: save(p, voxels, kind=nib.Nifti2Image)
    shifted = (voxels.astype(np.int32) + 1024).astype(np.uint16)
    yield "shifted.nii.gz", lambda p: save(p, shifted, scaling=(1, -1024))
    yield "halved.nii", lambda p: save(p, voxels.astype(np.int32) * 2, scaling=(0.5, 0))
    yield "one-time.nii", lambda p: save(p, voxels[..., None])


@pytest.mark.parametrize(("name", "write"), list(same_values()), ids=lambda x: str(x)[:14])
def test_content_is_the_image_not_the_file(
    root: DataRoot, name: str, write: Callable[[Path], None]
) -> None:
    """Type on disk, scaling, packing, kind of header and name change the bytes alone."""
    save(root.root / "first.nii.gz", values())
    write(root.root / name)
    one, other = of(root, "first.nii.gz"), of(root, name)
    assert one is not None
    assert other is not None
    assert one.voxels == other.voxels
    assert other.file == hashlib.sha256((root.root / name).read_bytes()).hexdigest()


def test_order_of_bytes_does_not_matter(root: DataRoot) -> None:
    """A file of a big-endian machine holds the same image."""
    save(root.root / "little.nii", values())
    image = nib.Nifti1Image(values(), AFFINE)
    big = nib.Nifti1Image(values().astype(">i2"), AFFINE, image.header.as_byteswapped(">"))
    nib.save(big, root.root / "big.nii")
    assert (root.root / "big.nii").read_bytes()[:4] == (348).to_bytes(4, "big")
    one, other = of(root, "little.nii"), of(root, "big.nii")
    assert one is not None
    assert other is not None
    assert one.voxels == other.voxels


def test_negative_zero_is_zero(root: DataRoot) -> None:
    """Two spellings of one number, among fractions as well."""
    voxels = np.full((4, 4, 4), 0.25)
    voxels[0] = 0.0
    save(root.root / "plus.nii", voxels)
    save(root.root / "minus.nii", np.where(voxels == 0, -0.0, voxels))
    one, other = of(root, "plus.nii"), of(root, "minus.nii")
    assert one is not None
    assert other is not None
    assert one.file != other.file
    assert one.voxels == other.voxels


def altered() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Files of images that are nearly the same."""
    voxels = values()
    one = voxels.copy()
    one[-1, -1, -1] += 1
    yield "one voxel", lambda p: save(p, one)
    yield "a fraction", lambda p: save(p, voxels + np.float64(1e-9))
    yield "other axes", lambda p: save(p, voxels.reshape((20, 30, 10), order="F"))
    moved = AFFINE.copy()
    moved[0, 3] += 1e-3  # mm
    yield "moved", lambda p: save(p, voxels, moved)
    yield "mirrored", lambda p: save(p, voxels, AFFINE * np.array([-1, 1, 1, 1]))
    yield "scaled", lambda p: save(p, voxels, scaling=(2, 0))


@pytest.mark.parametrize(("name", "write"), list(altered()), ids=lambda x: str(x)[:14])
def test_another_image_is_another_content(
    root: DataRoot, name: str, write: Callable[[Path], None]
) -> None:
    """The smallest difference in values, shape or geometry counts."""
    save(root.root / "one.nii", values())
    write(root.root / "other.nii")
    one, other = of(root, "one.nii"), of(root, "other.nii")
    assert one is not None
    assert other is not None
    assert one.voxels != other.voxels


def test_large_integers_are_not_rounded_together(root: DataRoot) -> None:
    """Whole numbers that no float64 tells apart are told apart."""
    voxels = np.full((2, 2, 2), 2**60, dtype=np.int64)
    save(root.root / "one.nii", voxels)
    save(root.root / "other.nii", voxels + 1)
    one, other = of(root, "one.nii"), of(root, "other.nii")
    assert one is not None
    assert other is not None
    assert one.voxels != other.voxels


def test_chunks_are_of_voxels_not_of_bytes(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where runs end does not depend on the type on disk, nor on how much is read at once."""
    monkeypatch.setattr(fingerprint, "_CHUNK_VOXELS", 1000)
    voxels = values()
    voxels[:, :, 5:] = np.abs(voxels[:, :, 5:]) % 200
    save(root.root / "short.nii.gz", voxels)
    save(root.root / "double.nii", voxels.astype(np.float64))
    found = {of(root, n) for n in ("short.nii.gz",)}
    monkeypatch.setattr(fingerprint, "_BLOCK_BYTES", 777)
    assert {c and c.voxels for c in found} == {
        c and c.voxels for c in (of(root, "double.nii"), of(root, "short.nii.gz"))
    }


def test_several_members_are_one_file(root: DataRoot) -> None:
    """Gzip files may be written one after the other, with zeros behind the last."""
    save(root.root / "plain.nii", values())
    raw = (root.root / "plain.nii").read_bytes()
    packed = gzip.compress(raw[:999]) + gzip.compress(raw[999:]) + b"\0" * 64
    (root.root / "members.nii.gz").write_bytes(packed)
    one, other = of(root, "plain.nii"), of(root, "members.nii.gz")
    assert one is not None
    assert other is not None
    assert one.voxels == other.voxels


def broken() -> Iterator[tuple[str, bytes]]:
    """What is no image, or not whole."""
    image = nib.Nifti1Image(values(), AFFINE).to_bytes()
    packed = gzip.compress(image)
    yield "empty", b""
    yield "text", b"this is no image" * 99
    yield "cut", image[:-1]
    yield "cut.gz", packed[:-100]
    yield "without its checksum.gz", packed[:-8]
    yield "flipped.gz", packed[:5000] + bytes([packed[5000] ^ 1]) + packed[5001:]
    yield "too long", image + b"\0" * 5000
    yield "too long.gz", gzip.compress(image + b"\0" * 5000)


@pytest.mark.parametrize("data", [d for _, d in broken()], ids=[n for n, _ in broken()])
def test_what_is_no_image_has_no_content(root: DataRoot, data: bytes) -> None:
    """The predictor will say what is wrong with it."""
    (root.root / "file.nii.gz").write_bytes(data)
    assert of(root, "file.nii.gz") is None


def test_what_is_not_there_has_no_content(root: DataRoot) -> None:
    """Missing, refused, a folder, or larger than the limit."""
    (root.root / "folder").mkdir()
    save(root.root / "image.nii", values())
    assert of(root, "missing.nii") is None
    assert of(root, "../image.nii") is None
    assert of(root, "folder") is None
    assert of(root, "image.nii", max_voxels=100) is None


def test_contents_are_remembered_until_the_file_changes(root: DataRoot) -> None:
    """Known at once after the first look, and not any more when it was written to."""
    save(root.root / "a.nii.gz", values())

    async def work(contents: Contents) -> None:
        assert contents.known("a.nii.gz") is None
        first = await contents.of("a.nii.gz")
        assert first is not None
        assert contents.known("a.nii.gz") == first
        assert contents.known_digest("a.nii.gz") == first.file
        before = (root.root / "a.nii.gz").stat()
        save(root.root / "a.nii.gz", values()[::-1])
        os.utime(root.root / "a.nii.gz", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert contents.known("a.nii.gz") is None
        second = await contents.of("a.nii.gz")
        assert second is not None
        assert second.voxels != first.voxels

    ask(root, work)


def test_only_files_below_the_root_are_known(root: DataRoot, tmp_path: Path) -> None:
    """Though the same file is remembered: not by a path that is refused."""
    data = root.root / "data"
    (data / ".nephra").mkdir(parents=True)
    save(data / "a.nii.gz", values())
    (data / "link.nii.gz").symlink_to(data / "a.nii.gz")
    (data / ".nephra" / "b.nii.gz").hardlink_to(data / "a.nii.gz")
    (root.root / "c.nii.gz").hardlink_to(data / "a.nii.gz")

    async def work(contents: Contents) -> None:
        found = await contents.of("a.nii.gz")
        assert found is not None
        assert contents.known("a.nii.gz") == found
        assert contents.known("./a.nii.gz") == found
        assert contents.known("link.nii.gz") == found
        for path in (
            "../data/a.nii.gz",
            "x/../a.nii.gz",
            str(data / "a.nii.gz"),
            ".nephra/b.nii.gz",
            "../c.nii.gz",
            "",
        ):
            assert contents.known(path) is None

    ask(DataRoot(data), work)


def test_bytes_of_any_file_have_a_digest(root: DataRoot) -> None:
    """Meshes and tables are verified by it; what is gone has none."""
    (root.root / "scene.obj").write_bytes(b"o kidney\n")

    async def work(contents: Contents) -> None:
        assert contents.known_digest("scene.obj") is None
        found = await contents.file_digest("scene.obj")
        assert found == hashlib.sha256(b"o kidney\n").hexdigest()
        assert contents.known_digest("scene.obj") == found
        (root.root / "scene.obj").unlink()
        assert await contents.file_digest("scene.obj") is None

    ask(root, work)


def test_a_hundred_askers_share_one_pass(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read once, also if the first asker goes away."""
    save(root.root / "a.nii", values())
    looks: list[Path] = []
    go = threading.Event()

    def look(path: Path, max_voxels: int, stop: threading.Event) -> Content | None:
        looks.append(path)
        go.wait(30)
        return fingerprint.fingerprint(path, max_voxels, stop)

    monkeypatch.setattr(content, "fingerprint", look)

    async def work(contents: Contents) -> None:
        first = asyncio.create_task(contents.of("a.nii"))
        others = [asyncio.create_task(contents.of("a.nii")) for _ in range(99)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        go.set()
        found = set(await asyncio.gather(*others))
        assert len(found) == 1
        assert None not in found
        assert len(looks) == 1

    ask(root, work)


def test_a_file_that_changes_under_the_pass_is_read_again(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said is said of what lies there afterwards."""
    save(root.root / "a.nii", values())

    def look(path: Path, max_voxels: int, stop: threading.Event) -> Content | None:
        found = fingerprint.fingerprint(path, max_voxels, stop)
        monkeypatch.setattr(content, "fingerprint", fingerprint.fingerprint)
        save(path, values()[::-1])
        return found

    monkeypatch.setattr(content, "fingerprint", look)
    found = of(root, "a.nii")
    assert found is not None
    assert found.file == hashlib.sha256((root.root / "a.nii").read_bytes()).hexdigest()


def test_a_file_is_read_when_a_later_change_could_be_seen(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was just written could be written to once more within the same tick."""
    monkeypatch.setattr(content, "_TICK_S", 0.2)
    save(root.root / "a.nii", values())
    ages_s: list[float] = []

    def look(path: Path, max_voxels: int, stop: threading.Event) -> Content | None:
        ages_s.append(time.time() - path.stat().st_ctime)
        return fingerprint.fingerprint(path, max_voxels, stop)

    monkeypatch.setattr(content, "fingerprint", look)
    assert of(root, "a.nii") is not None
    assert min(ages_s) >= 0.19


def test_passes_end_when_the_gateway_does(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait for a large image."""
    save(root.root / "a.nii", values())
    begun = threading.Event()

    def look(path: Path, max_voxels: int, stop: threading.Event) -> Content | None:
        begun.set()
        assert stop.wait(30)
        return fingerprint.fingerprint(path, max_voxels, stop)

    monkeypatch.setattr(content, "fingerprint", look)

    async def main() -> None:
        contents = Contents(root)
        asking = asyncio.create_task(contents.of("a.nii"))
        assert await asyncio.to_thread(begun.wait, 30)
        await contents.close()
        assert await asking is None

    asyncio.run(main())


def test_memory_does_not_grow_with_the_image(root: DataRoot) -> None:
    """64 MiB of voxels, packed a thousandfold, are read in a few."""
    save(root.root / "large.nii.gz", np.zeros((256, 256, 512), dtype=np.int16))
    stop = threading.Event()
    tracemalloc.start()
    try:
        assert fingerprint.fingerprint(root.root / "large.nii.gz", 10**8, stop) is not None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 * 2**20


def test_only_so_many_files_are_remembered(root: DataRoot, tmp_path: Path) -> None:
    """The least recently used goes first."""
    for name in "abc":
        (root.root / name).write_text(name)

    async def main() -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as threads:
            found = content.Findings[str](lambda p: p.name, threads, size=2)
            signatures = {}
            for name in "ab":
                assert await found.find(root.root / name) == name
                signature = content.signature_of(root.root / name)
                assert signature is not None
                signatures[name] = signature
            assert found.get(signatures["a"]) == "a"
            await found.find(root.root / "c")
            assert found.get(signatures["a"]) == "a"
            assert found.get(signatures["b"]) is None

    asyncio.run(main())
