"""What is looked at: a picture in 8 bits, sketches as pixels and as SVG."""

import base64
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from vae_zoo.marks import WRITTEN
from vae_zoo.strokes import lengths

MARGIN = 0.08  # of the side, left free around a sketch
SUPERSAMPLING = 4  # pictures are rendered so many times as large and then reduced, which smooths the lines
BEGUN = "#d55e00"  # colour of a beginning: vermilion, which to the colour-blind is not black either


def lines(x: Tensor, first: int = 0) -> list[np.ndarray]:
    """Return the lines (N, 2) that the pen draws in a sketch (T, 5) on the CPU; a dot is a line of one point.

    Args:
        x: the sketch.
        first: leave out the lines of so many points; what is drawn after them begins where they end.
    """
    points, states = x[: int(lengths(x)), :2].double().cumsum(0), x[: int(lengths(x)), 3]
    places = np.concatenate([np.zeros((1, 2)), points.numpy()])[first:]  # it begins at the origin
    lifted = np.flatnonzero(np.concatenate([[0.0], states.numpy()])[first:] > 0.5)
    found = [line for line in np.split(places, lifted + 1) if len(line)]
    return found[1:] if first and found and len(found[0]) == 1 else found  # where they end is no dot


def fit(lines: Sequence[np.ndarray], side: float) -> list[np.ndarray]:
    """Move and scale lines, all alike, into the middle of a square from 0 to `side`."""
    if not lines:
        return []
    points = np.concatenate(lines)
    low, high = points.min(0), points.max(0)
    scale = side * (1 - 2 * MARGIN) / max(float((high - low).max()), 1e-9)
    return [(line - (low + high) / 2) * min(scale, side) + side / 2 for line in lines]


def coloured(x: Tensor, side: float, begun: int = 0) -> list[tuple[str, list[np.ndarray]]]:
    """Return what to draw of a sketch (T, 5) in a square from 0 to `side`: lines (N, 2), and their colour before them.

    Args:
        x: the sketch.
        side: of the square.
        begun: so many points are a beginning, in a colour of its own.
    """
    if not begun:
        return [("black", fit(lines(x), side))]
    beginning, ending = lines(x[:begun]), lines(x, begun)
    fitted = fit([*beginning, *ending], side)
    return [(BEGUN, fitted[: len(beginning)]), ("black", fitted[len(beginning) :])]


def rasterise(x: Tensor, side: int = 64, begun: int = 0) -> Tensor:
    """Draw sketches (B, T, 5) in black on white, (B, 1, side, side) in [0, 1], on the CPU.

    With a beginning of `begun` points, in a colour of its own, it is (B, 3, side, side).
    """
    pictures = []
    for sketch in x.cpu():
        canvas = Image.new("RGB" if begun else "L", (side * SUPERSAMPLING, side * SUPERSAMPLING), "white")
        draw = ImageDraw.Draw(canvas)
        width = max(1, round(side * SUPERSAMPLING / 64))
        for colour, drawn in coloured(sketch, side * SUPERSAMPLING, begun):
            for line in drawn:
                draw.line([tuple(point) for point in line], colour, width, joint="curve")
                if len(line) == 1:
                    draw.ellipse([*(line[0] - width / 2), *(line[0] + width / 2)], colour)
        pictures.append(np.asarray(canvas.resize((side, side), Image.Resampling.BOX)))
    pixels = torch.from_numpy(np.stack(pictures)).view(len(x), side, side, -1)  # B side side C
    return pixels.permute(0, 3, 1, 2).float() / 255


def pil(picture: Tensor) -> Image.Image:
    """Return a picture (C, H, W) in [0, 1], its values rounded to 8 bits as `torchvision.utils.save_image` rounds."""
    return to_pil_image(picture.mul(255).add(0.5).clamp(0, 255).byte().cpu())


def data_url(content: bytes, kind: str) -> str:
    """Return a file as a URL that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def svg(rows: Sequence[Tensor], side: int = 96, begun: Sequence[int] = (), names: Sequence[str] = ()) -> str:
    """Draw sketches as an SVG document: a row for each tensor (B, T, 5), `side` pixels for each sketch.

    Args:
        rows: the sketches.
        side: of each of them.
        begun: of each row, how many points are a beginning, in a colour of its own.
        names: to write before the rows.
    """
    left = 8 * max(map(len, names), default=-1) + 8  # a letter of 12 pixels is narrower than 8
    size = {"width": str(left + side * max(map(len, rows))), "height": str(side * len(rows))}
    root = ElementTree.Element("svg", size, xmlns="http://www.w3.org/2000/svg")
    ElementTree.SubElement(root, "rect", size, fill="white")
    style = {"fill": "none", "stroke-linecap": "round", "stroke-linejoin": "round"}
    text = {"x": "4", "font-family": "sans-serif", "font-size": "12"}
    for i, name in enumerate(names):
        ElementTree.SubElement(root, "text", text, y=str(side * i + side // 2)).text = name
    for i, row in enumerate(rows):
        for j, sketch in enumerate(row.cpu()):
            for colour, drawn in coloured(sketch, side, begun[i] if begun else 0):
                places = [" ".join(f"{x:.1f},{y:.1f}" for x, y in line) for line in drawn]
                path = " ".join(f"M{line} L{line.split()[-1]}" for line in places)  # so that a dot is seen, too
                at = f"translate({left + j * side} {i * side})"
                ElementTree.SubElement(root, "path", style, stroke=colour, d=path, transform=at)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + f"\n<!-- {WRITTEN} -->\n"
