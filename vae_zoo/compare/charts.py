"""The report's pictures: curves and bars as SVG that follows the page's colours, and the wall of the runs' images."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, Protocol

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from vae_zoo.compare.figures import DRAWN, Group
from vae_zoo.curves import Point
from vae_zoo.errors import amount
from vae_zoo.rendering import data_url

INK = "#010203"  # stands for the colour of the page's text
STYLE: Any = {"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK}
STYLE |= {"text.parse_math": False}  # a folder's name may have a $ in it
STYLE |= {"svg.fonttype": "none", "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False}
# Mid tones, to be told apart on light and on dark; the dashes and markers are for those who see no colours.
COLOURS = ("#8a8a8a", "#3b8ed0", "#e08214", "#35a06c", "#c2569b", "#b59f00", "#8a6fd1", "#c4483a")
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vP*X"
# A page stays below some 15 MB: its pictures share this many bytes, and of each kind there are so many epochs at most.
BYTES = 8_000_000
EPOCHS = 24
PANELS = (("train", "epoch"), ("val", "epoch"), ("val", "seconds"))  # of a chart: what is drawn, against what
BY = {"epoch": "by epochs", "seconds": "by seconds of training"}
POINTS = 400  # of a curve, at most; a panel is some 400 pixels wide
SEEDS = 64  # thin lines of a panel, at most, where each model has two or more
# What is tried until a picture has its share: pixels of its longer side, and the quality; 100 is without loss.
TRIED = ((1200, 100), (1200, 95), (1200, 85), (800, 85), (500, 80), (300, 75))


class HasCurves(Protocol):
    """What a chart of curves needs of the runs of one model in one setting: a `Group` has it."""

    @property
    def setting(self) -> str:
        """The name of a row of the chart."""

    @property
    def label(self) -> str:
        """What the model is called."""

    @property
    def logged(self) -> Mapping[str, Sequence[Sequence[Point]]]:
        """By name, ``val/mse``, a curve of each run."""


def curves(groups: Sequence[Group]) -> dict[str, str]:
    """Draw by name what was logged, training beside validation, and validation against seconds: a row for each setting.

    Thin lines are seeds.
    """
    return {name: svg for name, title in DRAWN.items() if (svg := curves_of(groups, name, title))}


@matplotlib.rc_context(STYLE)
def curves_of(groups: Sequence[HasCurves], name: str, title: str, panels: Sequence[tuple[str, str]] = PANELS) -> str:
    """Draw the curves of one figure, see `curves`, in some of its panels; nothing where no run has it."""
    panels = [
        (part, against)
        for part, against in panels
        if any(math.isfinite(p.value) for group in groups for curve in group.logged[f"{part}/{name}"] for p in curve)
    ]
    if not panels:
        return ""
    settings, looks = list(dict.fromkeys(group.setting for group in groups)), _looks(groups)
    seeds = seeds_drawn(groups)
    figure = Figure(figsize=(12 if len(panels) > 1 else 4.4, 0.5 + 3.4 * len(settings)), layout="constrained")
    axes = figure.subplots(len(settings), len(panels), squeeze=False, sharey="row")
    for row, setting in zip(axes, settings, strict=True):
        for axis, (part, against) in zip(row, panels, strict=True):
            for group in (group for group in groups if group.setting == setting):
                i = looks[group.label]
                look = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
                marker = MARKERS[i % len(MARKERS)]
                _curve(axis, group.label, group.logged[f"{part}/{name}"], against, look, marker, seeds)
            axis.set(xlabel="epoch" if against == "epoch" else "seconds of training")
            axis.set_title("training" if part == "train" else "validation", fontsize="medium")
            axis.yaxis.set_tick_params(labelleft=True)
            axis.ticklabel_format(useOffset=False)  # or ticks are read as 0.1 and 0.2 that are 11483.1 and 11483.2
            if against == "epoch":
                axis.xaxis.get_major_locator().set_params(integer=True)
        row[0].set(ylabel=f"{title}\n{setting}" if len(settings) > 1 else title)
    drawn = [zip(*axis.get_legend_handles_labels(), strict=True) for axis in axes.flat]  # of all settings
    legend = {label: handle for of_axis in drawn for handle, label in of_axis}
    columns = len(legend) if len(panels) > 1 else 2
    figure.legend(legend.values(), legend.keys(), frameon=False, loc="outside upper left", ncols=columns)
    by = " and ".join(dict.fromkeys(BY[against] for _, against in panels))
    return _svg(figure, name if len(panels) > 1 else "-".join((name, *panels[0])), f"{title}, {by}")


def _looks(groups: Sequence[HasCurves]) -> dict[str, int]:
    """By label, the number of its colour: its place among the models, whichever settings it is in."""
    return {label: i for i, label in enumerate(dict.fromkeys(group.label for group in groups))}


def seeds_drawn(groups: Sequence[HasCurves]) -> int:
    """Return how many seeds of each model have a thin line, the first ones: a page has room for so many."""
    return max(2, SEEDS // max(1, len(_looks(groups))))


def _curve(
    axis: "matplotlib.axes.Axes",
    label: str,
    curves: Sequence[Sequence[Point]],
    against: str,
    look: dict,
    marker: str,
    seeds: int = SEEDS,
) -> None:
    def x(point: Point) -> float:
        return point.epoch if against == "epoch" else point.seconds

    every = max(1, math.ceil(max(map(len, curves)) / POINTS))
    curves = [curve[::-every][::-1] for curve in curves]  # the last one among them
    for curve in curves[:seeds] if len(curves) > 1 else []:
        axis.plot([x(point) for point in curve], [point.value for point in curve], **look, linewidth=0.6, alpha=0.6)
    shared = list(zip(*curves, strict=False))  # epochs that all seeds have
    xs, ys = ([fmean(f(point) for point in at) for at in shared] for f in (x, lambda p: p.value))
    if any(map(math.isfinite, ys)):
        every = max(1, len(xs) // 10) if len(xs) > 50 else 1  # few points look measured or not by their markers
        axis.plot(xs, ys, **look, linewidth=1.8, label=label, marker=marker, markevery=every)


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
    return _svg(figure, "bars", "Seconds per epoch and peak memory of each model")


def _svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an element of a page, whose ink is the page's."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": description}):  # of the names inside
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # it would style the whole page
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)  # ids are the page's
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


def wall(groups: Sequence[Group], share: int) -> dict[str, list[list[Tile]]]:
    """Return for each kind of picture a row of tiles for each epoch, of one setting's first seeds.

    Args:
        groups: of the setting.
        share: bytes of a picture, see `share`.
    """
    there = {group.label: group.runs[0].pictures for group in groups}
    rows: dict[str, list[list[Tile]]] = {}
    for kind in sorted({kind for pictures in there.values() for kind in pictures}):
        pictures = {label: found.get(kind, {}) for label, found in there.items()}
        for epoch in _some(sorted({epoch for found in pictures.values() for epoch in found})):
            what = f"{kind} after {amount(epoch, 'epoch')}"
            tiles = [
                Tile(epoch, label, f"{label}: {what}", picture_url(found.get(epoch), share))
                for label, found in pictures.items()
            ]
            if any(tile.source for tile in tiles):
                rows.setdefault(kind, []).append(tiles)
    return rows


def share(groups: Sequence[Group]) -> int:
    """Return how many bytes each picture of a page may have."""
    kinds = [epochs for group in groups for epochs in group.runs[0].pictures.values()]
    return BYTES // max(1, sum(min(EPOCHS, len(epochs)) for epochs in kinds))


def _some(epochs: list[int]) -> list[int]:
    """Epochs from the first to the last, not more than a page has room for."""
    if len(epochs) <= EPOCHS:
        return epochs
    return [epochs[round(i * (len(epochs) - 1) / (EPOCHS - 1))] for i in range(EPOCHS)]


def picture_url(path: Path | None, share: int = BYTES) -> str | None:
    """Return a picture of a run in a URL, in so many bytes; None where there is none, or it is damaged."""
    if path is None:
        return None
    try:
        picture = Image.open(path, formats=["PNG"]).convert("RGB")
    except Exception:  # Pillow lets through whatever its decoders meet
        return None
    content = b""
    for side, quality in TRIED:
        picture.thumbnail((side, side))
        out = io.BytesIO()
        picture.save(out, "WEBP", **({"lossless": True, "method": 2} if quality == 100 else {"quality": quality}))
        content = out.getvalue()
        if len(content) <= share:
            break
    return data_url(content, "webp")
