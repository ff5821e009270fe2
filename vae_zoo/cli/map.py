"""``vae-zoo map``: the codes of one or several trained models side by side, coloured by label."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.cli.parser import Parser
from vae_zoo.cli.pictures import encoder, write_numbers
from vae_zoo.cli.trained import add_checkpoint, data_of_run, load_each
from vae_zoo.data.module import DataModule, Part
from vae_zoo.errors import UserError, require
from vae_zoo.latent import maps
from vae_zoo.marks import WRITTEN, refuse_foreign
from vae_zoo.metrics.codes import active_units
from vae_zoo.models import Autoencoder
from vae_zoo.runs import of_checkpoint
from vae_zoo.writing import whole

BATCH = 256


@dataclass(frozen=True, eq=False)
class Panel:
    """What is drawn of a model, and its figures."""

    projection: maps.Projection
    labels: np.ndarray
    names: tuple[str, ...]
    prior: Distribution | None
    figures: dict[str, Any]


def run(arguments: Sequence[str]) -> None:
    """Encode, draw the maps, and write the picture and the numbers."""
    parser = Parser(
        prog="vae-zoo map", description="Show where models put pictures, coloured by label.", allow_abbrev=False
    )
    add_checkpoint(parser, several=True)
    parser.add_argument("--part", choices=get_args(Part), default="test", help="of the data (default %(default)s)")
    parser.add_argument("--n", type=int, default=5000, help="codes, drawn at random (default %(default)s)")
    parser.add_argument("--how", choices=maps.PROJECTIONS, default="auto", help="auto: direct for 2 numbers, else pca")
    parser.add_argument("--draws", action="store_true", help="show a draw of each posterior, not its centre")
    parser.add_argument("--samples", type=int, default=1000, help="compared with training pictures (default 1000)")
    parser.add_argument("--names", nargs="+", help="a title for each (default: model and run)")
    parser.add_argument("--out", type=Path, default=Path("map.png"), help=".png (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and the draws (default %(default)s)")
    options = parser.parse_args(arguments)
    require(1, n=options.n, samples=options.samples)
    require(0, seed=options.seed)
    if options.out.suffix.lower() != ".png":
        raise UserError(f"--out {options.out}: it ends in .png")
    refuse_foreign(options.out, options.out.with_suffix(".json"))
    if options.names and len(options.names) != len(options.ckpt_path):
        raise UserError(f"--names: {len(options.names)} titles for {len(options.ckpt_path)} checkpoints")
    panels, titles = [], []
    for model, checkpoint in load_each(options):
        autoencoder = encoder(model, "be mapped")
        data = data_of_run(checkpoint, model, "a map needs its data", options.trust)
        torch.manual_seed(options.seed)
        panel = _panel(autoencoder, data, options)
        found = of_checkpoint(checkpoint)
        assert found  # where the data were found
        titles.append(f"{type(model).__name__}, {found.name}")
        panel.figures["checkpoint"] = str(checkpoint)
        panels.append(panel)
    if len(set(titles)) < len(titles):  # several runs, or states, of one name
        titles = [f"{panel.figures['model']}, {panel.figures['checkpoint']}" for panel in panels]
    for title, panel in zip(options.names or titles, panels, strict=True):
        panel.figures["name"] = title
        print(f"{title}: {_said(panel.figures)}")
    _write(panels, options.out)


def _panel(model: Autoencoder, data: DataModule, options: argparse.Namespace) -> Panel:
    part: Part = options.part
    if not (there := len(data.parts[part])):
        raise UserError(f"--part {part}: there are no such pictures in the data of this run")
    random = np.random.default_rng(options.seed)
    rows = np.sort(random.choice(there, min(options.n, there), replace=False)).tolist()  # a file may be in order
    labels: list[Tensor] = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in data.batches(part, BATCH, rows):
            labels.append(y)
            yield x, y

    centres, draws = maps.placed(model, batches())
    y = torch.cat(labels)
    projection = maps.project(draws if options.draws else centres, options.how, options.seed)
    of_label = y[torch.randint(len(y), (len(y),))] if model.labels else None
    prior_draws = model.sample_prior(len(y), of_label).cpu().numpy()
    frequent = np.bincount(y.numpy()).max() / len(y)
    several = data.facts.labels > 1
    figures: dict[str, Any] = {
        "model": type(model).__name__,
        "data": type(data).__name__,
        "part": part,
        "n": len(y),
        "numbers": int(np.prod(centres.shape[1:])),
        "how": projection.how,
        "axes": projection.axes,
        "active": active_units(torch.from_numpy(centres).flatten(1)),
        "coverage": maps.coverage(prior_draws, draws),
        "label_accuracy": maps.label_accuracy(draws, y.numpy()) if several else None,
        "most_frequent_label": float(frequent) if several else None,
    }
    if model.pixels:
        test = np.sort(random.choice(n_test := len(data.parts["test"]), min(options.samples, n_test), replace=False))
        held_out = torch.cat([x for x, _ in data.batches("test", BATCH, test.tolist())])
        train = (x for x, _ in data.batches("train", BATCH))
        figures["strays"], figures["far"] = maps.strays(model, train, held_out, options.samples)
    else:
        figures["strays"] = figures["far"] = None
    prior = maps.projected_prior(model, projection)
    return Panel(projection, y.numpy(), data.facts.label_names, prior, figures)


def _said(figures: dict[str, Any]) -> str:
    found = [f"{figures['active']} of {figures['numbers']} numbers active"]
    found.append(f"{figures['coverage']:.0%} of the prior covered")
    if figures["label_accuracy"] is not None:
        found.append(
            f"label by neighbours {figures['label_accuracy']:.0%} (most frequent {figures['most_frequent_label']:.0%})"
        )
    if figures["strays"] is not None:
        found.append(f"{figures['strays']:.0%} of samples stray")
    return ", ".join(found)


def _write(panels: Sequence[Panel], out: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels) + 1.2, 4.8), dpi=120, layout="constrained")
    every = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(every, panels, strict=True):
        maps.draw_map(axes, panel.projection, panel.labels, panel.names, panel.prior)
        title = wrap(maps.plain(panel.figures["name"]), 60)  # a path may be longer than a panel is wide
        axes.set_title("\n".join([*title, *_said(panel.figures).split(", ")]), fontsize=9)
        if len(panel.names) > 1 and (axes is every[-1] or panel.names != panels[-1].names):
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, markerscale=1, frameon=False)
    if any(panel.prior for panel in panels):
        figure.supxlabel("contours: 50, 90 and 99 % of the prior lie inside", fontsize=8)
    with whole(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": WRITTEN})
    print(f"wrote {out}")
    write_numbers(out, "map", {"models": [panel.figures for panel in panels]})
