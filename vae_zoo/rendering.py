"""Sketches to look at: pixels and SVG."""

from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vae_zoo.strokes import lengths

MARGIN = 0.08  # of the side, left free around a sketch
SUPERSAMPLING = 4  # pictures are rendered so many times as large and then reduced, which smooths the lines


def lines(x: Tensor) -> list[np.ndarray]:
    """Return the lines (N, 2) that the pen draws in a sketch (T, 5) on the CPU; a dot is a line of one point."""
    points, states = x[: int(lengths(x)), :2].double().cumsum(0), x[: int(lengths(x)), 3]
    places = np.concatenate([np.zeros((1, 2)), points.numpy()])  # it begins at the origin
    lifted = np.flatnonzero(np.concatenate([[0.0], states.numpy()]) > 0.5)
    return [line for line in np.split(places, lifted + 1) if len(line)]


def fit(lines: Sequence[np.ndarray], side: float) -> list[np.ndarray]:
    """Move and scale lines, all alike, into the middle of a square from 0 to `side`."""
    if not lines:
        return []
    points = np.concatenate(lines)
    low, high = points.min(0), points.max(0)
    scale = side * (1 - 2 * MARGIN) / max(float((high - low).max()), 1e-9)
    return [(line - (low + high) / 2) * min(scale, side) + side / 2 for line in lines]


def rasterise(x: Tensor, side: int = 64) -> Tensor:
    """Draw sketches (B, T, 5) in black on white, (B, 1, side, side) in [0, 1], on the CPU."""
    pictures = []
    for sketch in x.cpu():
        canvas = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING), 255)
        draw = ImageDraw.Draw(canvas)
        width = max(1, round(side * SUPERSAMPLING / 64))
        for line in fit(lines(sketch), side * SUPERSAMPLING):
            draw.line([tuple(point) for point in line], 0, width, joint="curve")
            if len(line) == 1:
                draw.ellipse([*(line[0] - width / 2), *(line[0] + width / 2)], 0)
        pictures.append(np.asarray(canvas.resize((side, side), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(pictures))[:, None].float() / 255


def svg(rows: Sequence[Tensor], side: int = 96) -> str:
    """Draw sketches as an SVG document: a row for each tensor (B, T, 5), `side` pixels for each sketch."""
    size = {"width": str(side * max(map(len, rows))), "height": str(side * len(rows))}
    root = ElementTree.Element("svg", size, xmlns="http://www.w3.org/2000/svg")
    ElementTree.SubElement(root, "rect", size, fill="white")
    style = {"fill": "none", "stroke": "black", "stroke-linecap": "round", "stroke-linejoin": "round"}
    for i, row in enumerate(rows):
        for j, sketch in enumerate(row.cpu()):
            places = [" ".join(f"{x:.1f},{y:.1f}" for x, y in line) for line in fit(lines(sketch), side)]
            path = " ".join(f"M{line} L{line.split()[-1]}" for line in places)  # so that a dot is seen, too
            ElementTree.SubElement(root, "path", style, d=path, transform=f"translate({j * side} {i * side})")
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
