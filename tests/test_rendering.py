"""Sketches rendered: lines, pixels and SVG."""

from xml.etree import ElementTree

import numpy as np
import pytest

from tests.zoo import sketches
from vae_zoo import rendering
from vae_zoo.data.sketches import stroke5


def two_strokes():
    """A line of two steps to the right, a jump down, and a line back: stroke-5."""
    return stroke5([np.array([[4.0, 0, 0], [4, 0, 1], [0, 4, 0], [-8, 0, 1]])])


def test_lines_begin_at_the_origin_and_break_where_the_pen_is_lifted():
    first, second = rendering.lines(two_strokes()[0])
    assert first.tolist() == [[0, 0], [4, 0], [8, 0]] and second.tolist() == [[8, 4], [0, 4]]
    assert rendering.lines(stroke5([np.zeros((0, 3))])[0])[0].tolist() == [[0, 0]]


def test_pixels_and_svg_show_the_same_lines_and_no_others():
    x = two_strokes()
    (picture,) = rendering.rasterise(x, 64)
    assert picture.shape == (1, 64, 64) and picture.min() < 0.3 and picture.max() == 1
    dark = picture[0] < 0.5
    root = ElementTree.fromstring(rendering.svg([x], 64))
    (path,) = root.iter("{http://www.w3.org/2000/svg}path")
    strokes = [stroke.split(" L")[0] for stroke in path.get("d")[1:].split(" M")]
    places = [[tuple(map(float, point.split(","))) for point in stroke.split()] for stroke in strokes]
    assert [len(stroke) for stroke in places] == [3, 2]
    for stroke in places:
        for (x0, y0), (x1, y1) in zip(stroke, stroke[1:], strict=False):
            for t in np.linspace(0.05, 0.95, 10):
                column, row = (x0 + t * (x1 - x0)), (y0 + t * (y1 - y0))
                assert dark[int(row - 1) : int(row + 2), int(column)].any()
    middle = (places[0][0][1] + places[1][0][1]) / 2
    assert not dark[int(middle) - 2 : int(middle) + 3].any()  # nothing is drawn where the pen is lifted
    assert [places[0][0][0], places[0][-1][0]] == pytest.approx([64 * 0.08, 64 * 0.92], abs=0.05)


def test_a_page_has_a_place_for_each_sketch():
    x = sketches(5)
    root = ElementTree.fromstring(rendering.svg([x[:3], x[3:]], 50))
    assert (root.get("width"), root.get("height")) == ("150", "100")
    moves = [path.get("transform") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    assert moves == [f"translate({x} {y})" for x, y in ((0, 0), (50, 0), (100, 0), (0, 50), (50, 50))]
    empty = stroke5([np.zeros((0, 3))])
    assert rendering.rasterise(empty).shape == (1, 1, 64, 64)
    ElementTree.fromstring(rendering.svg([empty]))
