"""The renderer, and which way round its pictures are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_cli.demo.picture import FRONT, LEFT, View, render
from nephra_cli.demo.surfaces import Surface

SIZE = (120, 160)


def ball(name: str, centre_mm: tuple[float, float, float], radius_mm: float = 10) -> Surface:
    """An octahedron divided four times and pushed out onto a sphere."""
    vertices = np.array(
        [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=np.float64
    )
    faces = np.array(
        [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    )
    for _ in range(4):
        corners = vertices[faces]
        middles = (corners + np.roll(corners, -1, axis=1)) / 2
        a, b, c = np.moveaxis(corners, 1, 0)
        ab, bc, ca = np.moveaxis(middles, 1, 0)
        triangles = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        points = np.concatenate([np.stack(t, axis=1) for t in triangles]).reshape(-1, 3)
        vertices, index = np.unique(points.round(12), axis=0, return_inverse=True)
        faces = index.reshape(-1, 3)
    unit = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    return Surface(name, unit * radius_mm + centre_mm, faces)


def where(image: NDArray[np.uint8], colour: str) -> tuple[float, float, int]:
    """Mean row, mean column and count of the pixels in which one colour leads by far."""
    channel = "rgb".index(colour)
    values = image.astype(int)
    others = np.delete(values, channel, axis=2).max(axis=2)
    rows, columns = np.nonzero(values[:, :, channel] > others + 60)
    assert rows.size
    return float(rows.mean()), float(columns.mean()), rows.size


def test_the_patients_right_is_on_the_left_of_the_front_view() -> None:
    """A red ball at larger world x, a blue one at smaller; +x is the patient's right."""
    image = render([ball("artery", (40, 0, 0)), ball("vein", (-40, 0, 0))], FRONT, SIZE)
    assert where(image, "r")[1] < SIZE[1] / 2 < where(image, "b")[1]


def test_superior_is_up() -> None:
    """In both views the ball nearer the head is nearer the top."""
    scene = [ball("artery", (0, 0, 30)), ball("vein", (0, 0, -30))]
    for view in (FRONT, LEFT):
        image = render(scene, view, SIZE)
        assert where(image, "r")[0] < SIZE[0] / 2 < where(image, "b")[0]


def test_the_front_is_on_the_left_of_the_left_view() -> None:
    """Who looks from the patient's left sees the belly to the left."""
    image = render([ball("artery", (0, 40, 0)), ball("vein", (0, -40, 0))], LEFT, SIZE)
    assert where(image, "r")[1] < SIZE[1] / 2 < where(image, "b")[1]


@pytest.mark.parametrize(("view", "nearer"), [(FRONT, (0, 30, 0)), (LEFT, (-30, 0, 0))])
def test_what_lies_nearer_hides_what_lies_behind(
    view: View, nearer: tuple[float, float, float]
) -> None:
    """Whatever is drawn first: anterior hides from the front, the left side from the left."""
    red, blue = ball("artery", nearer, 12), ball("vein", (0, 0, 0), 10)
    for scene in ([red, blue], [blue, red]):
        image = render(scene, view, SIZE).astype(int)
        assert not (image[:, :, 2] > image[:, :, 0] + 60).any()
        where(render(scene, view, SIZE), "r")


def test_a_ball_is_round_and_fills_its_disc() -> None:
    """As many pixels as its disc has at the picture's scale: no holes, no fringe."""
    radius_mm = 20.0
    image = render([ball("tumor", (5, -3, 70), radius_mm)], FRONT, (200, 200))
    pixels_per_mm = 200 / (2 * radius_mm * 1.08)
    covered = int((image.min(axis=2) < 200).sum())
    assert covered == pytest.approx(np.pi * (radius_mm * pixels_per_mm) ** 2, rel=0.03)


def test_kidneys_let_what_is_inside_be_seen() -> None:
    """A tumour within a kidney changes the picture where it lies."""
    kidney, tumor = ball("kidney_right", (0, 0, 0), 30), ball("tumor", (0, 0, 0), 12)
    alone = render([kidney], FRONT, SIZE).astype(int)
    together = render([kidney, tumor], FRONT, SIZE).astype(int)
    middle = np.s_[SIZE[0] // 2 - 5 : SIZE[0] // 2 + 5, SIZE[1] // 2 - 5 : SIZE[1] // 2 + 5]
    assert np.abs(together[middle] - alone[middle]).min(axis=(0, 1)).max() > 30


def test_what_would_hide_everything_is_left_out() -> None:
    """Fat and muscle are not drawn, nor is an empty scene an error."""
    image = render(
        [ball("subcutaneous_fat", (0, 0, 0), 99), ball("nobody", (0, 0, 0))], FRONT, SIZE
    )
    assert image.shape == (*SIZE, 3)
    assert (image == 255).all()


def test_large_and_small_triangles_meet_the_same_pixels() -> None:
    """A square of two triangles equals the same square cut into many."""

    def square(count: int) -> Surface:
        steps = np.linspace(-20, 20, count + 1)
        x, z = np.meshgrid(steps, steps, indexing="ij")
        points = np.stack([x.ravel(), np.zeros(x.size), z.ravel()], axis=1)
        i, k = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
        low = (i * (count + 1) + k).ravel()
        # Seen from the front, x runs to the left: this order is counter-clockwise there.
        a, b, c, d = low, low + count + 1, low + 1, low + count + 2
        return Surface("artery", points, np.concatenate([np.c_[a, c, b], np.c_[b, c, d]]))

    one, many = (render([square(n)], FRONT, SIZE).astype(int) for n in (1, 40))
    assert (one < 200).any()
    assert np.abs(one - many).max() <= 1
