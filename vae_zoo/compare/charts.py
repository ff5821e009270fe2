"""The report's pictures: curves and bars as SVG that follows the page's colours, and the wall of the runs' images."""

import base64
import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, Protocol

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from vae_zoo.compare.figures import Group
from vae_zoo.curves import Point

INK = "#010203"  # stands for the colour of the page's text
STYLE: Any = {"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK}
STYLE |= {"text.parse_math": False}  # a folder's name may have a $ in it
STYLE |= {"svg.fonttype": "none", "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False}
# Mid tones, to be told apart on light and on dark; the dashes and markers are for those who see no colours.
COLOURS = ("#8a8a8a", "#3b8ed0", "#e08214", "#35a06c", "#c2569b", "#b59f00", "#8a6fd1", "#c4483a")
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vP*X"
SIDE = 1200  # pixels of the longer side of a picture of the wall, at most; larger ones would make a page of megabytes


class HasCurves(Protocol):
    """What a chart of curves needs of the runs of one model in one setting: a `Group` has it."""

    @property
    def setting(self) -> str:
        """The name of a row of the chart."""

    @property
    def label(self) -> str:
        """What the model is called."""

    @property
    def curves(self) -> Sequence[Sequence[Point]]:
        """Of each run."""


@matplotlib.rc_context(STYLE)
def curves(groups: Sequence[HasCurves], figure_name: str = "MSE") -> str:
    """Draw a validation figure against epochs and against seconds: a row for each setting; thin lines are seeds."""
    settings = list(dict.fromkeys(group.setting for group in groups))
    figure = Figure(figsize=(10, 3.6 * len(settings)), layout="constrained")
    axes = figure.subplots(len(settings), 2, squeeze=False, sharey="row")
    looks = _looks(groups)
    drawn = False
    for row, setting in zip(axes, settings, strict=True):
        for group in (group for group in groups if group.setting == setting):
            i = looks[group.label]
            look = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
            drawn |= any(math.isfinite(point.value) for curve in group.curves for point in curve)
            for axis, x in zip(row, (lambda p: p.epoch, lambda p: p.seconds), strict=True):
                _curve(axis, group, x, look, MARKERS[i % len(MARKERS)])
        row[0].set(ylabel=f"validation {figure_name}\n{setting}", xlabel="epoch")
        row[0].xaxis.get_major_locator().set_params(integer=True)
        row[1].set(xlabel="seconds of training")
    axes[0][0].legend(frameon=False)
    return _svg(figure, f"Validation {figure_name} against epochs and against seconds of training") if drawn else ""


def _looks(groups: Sequence[HasCurves]) -> dict[str, int]:
    """By label, the number of its colour: its place among the models, whichever settings it is in."""
    return {label: i for i, label in enumerate(dict.fromkeys(group.label for group in groups))}


def _curve(
    axis: "matplotlib.axes.Axes", group: HasCurves, x: Callable[[Point], float], look: dict, marker: str
) -> None:
    for curve in group.curves if len(group.curves) > 1 else []:
        axis.plot([x(point) for point in curve], [point.value for point in curve], **look, linewidth=0.6, alpha=0.6)
    shared = list(zip(*group.curves, strict=False))  # epochs that all seeds have
    xs, ys = ([fmean(f(point) for point in at) for at in shared] for f in (x, lambda p: p.value))
    axis.plot(xs, ys, **look, linewidth=1.8, label=group.label, marker=marker, markevery=max(1, len(xs) // 10))


@matplotlib.rc_context(STYLE)
def bars(groups: Sequence[Group]) -> str:
    """Draw time and memory as bars, means over settings and seeds; dots are the runs."""
    looks = _looks(groups)
    figure = Figure(figsize=(10, 0.8 + 0.4 * len(looks)), layout="constrained")
    for axis, (key, title) in zip(
        figure.subplots(1, 2, sharey=True),
        (("seconds_per_epoch", "seconds per epoch"), ("peak_memory_mb", "peak memory, MB")),
        strict=True,
    ):
        for label, i in looks.items():
            values = [value for group in groups if group.label == label for value in group.values(key)]
            if values:
                axis.barh(label, fmean(values), color=COLOURS[i % len(COLOURS)], height=0.7)
                axis.plot(values, [label] * len(values), ".", color=INK, markersize=4)
        axis.set(xlabel=title, xlim=(0, None))
        axis.invert_yaxis()
    figure.axes[0].yaxis.set_inverted(True)
    return _svg(figure, "Seconds per epoch and peak memory of each model")


def _svg(figure: Figure, description: str) -> str:
    """The figure as an element of a page, whose ink is the page's."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": description}):  # of the names inside
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # it would style the whole page
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{description.split()[0].lower()}-", svg)  # ids are the page's
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)


class Tile(NamedTuple):
    """A picture of the wall.

    Attributes:
        epoch: after how many epochs.
        label: of the model.
        text: what is to be seen.
        source: a data URL; None where the run has no such picture.
    """

    epoch: int
    label: str
    text: str
    source: str | None


def wall(groups: Sequence[Group]) -> dict[str, list[list[Tile]]]:
    """Return for each kind of picture a row of tiles for each epoch, of one setting's first seeds."""
    there = {group.label: group.runs[0].pictures for group in groups}
    rows: dict[str, list[list[Tile]]] = {}
    for kind in sorted({kind for pictures in there.values() for kind in pictures}):
        pictures = {label: found.get(kind, {}) for label, found in there.items()}
        for epoch in sorted({epoch for found in pictures.values() for epoch in found}):
            tiles = [
                Tile(epoch, label, f"{label}: {kind} after {epoch} epochs", picture_url(found.get(epoch)))
                for label, found in pictures.items()
            ]
            if any(tile.source for tile in tiles):
                rows.setdefault(kind, []).append(tiles)
    return rows


def picture_url(path: Path | None) -> str | None:
    """Return a picture of a run in a URL; None where there is none, or it is damaged."""
    if path is None:
        return None
    try:
        small = Image.open(path, formats=["PNG"]).convert("RGB")
    except Exception:  # Pillow lets through whatever its decoders meet
        return None
    small.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    small.save(out, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
