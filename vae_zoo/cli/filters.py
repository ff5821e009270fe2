"""``vae-zoo filters``: what units of a convolution respond to, beside the units of an untrained network."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vae_zoo.cli.pictures import (
    add_images,
    begin,
    make_parser,
    repeated,
    require_label,
    two_sided,
    write_captioned,
    write_numbers,
)
from vae_zoo.cli.trained import data_of_run
from vae_zoo.data.pictures import picture_batches
from vae_zoo.latent import (
    Strongest,
    convolution,
    convolutions,
    guided_backpropagation,
    highest,
    strongest,
    untrained,
)
from vae_zoo.models.decoding import TwoSided

BATCH = 256


def run(arguments: Sequence[str]) -> None:
    """Look, and write the picture and the numbers."""
    parser = make_parser("filters", "Show what units respond to.", 8, "units, two rows each")
    parser.set_defaults(columns=4)
    add_images(parser)
    parser.add_argument("--layer", help="a convolution, or list: their names (default: the highest)")
    parser.add_argument("--units", type=int, nargs="+", help="these channels of it (default: the first --n)")
    options = parser.parse_args(arguments)
    given, checkpoint, label = begin(options)
    model = two_sided(given, "show filters")
    if options.layer == "list":
        print("\n".join(convolutions(model, model.sees)))
        return
    if options.images:
        require_label(model, label)
    layer = options.layer or highest(model)
    random = untrained(model, options.seed)
    channels = range(convolution(model, model.sees, layer).out_channels)
    units = options.units or list(channels)[: options.n]
    rows: list[tuple[str, Tensor]] = []
    by_network = {
        name: strongest(network, _batches(options, network, checkpoint, label), layer, units, options.columns)
        for name, network in (("trained", model), ("untrained", random))
    }
    for row, unit in enumerate(units):
        for (name, found), network in zip(by_network.items(), (model, random), strict=True):
            rows.append((f"{unit} {name}: {found.peaks[row]:.1f} sd", _shown(network, found, row, layer, unit)))
    write_captioned(rows, options.out)
    means = {name: float(found.peaks.mean()) for name, found in by_network.items()}
    numbers = {
        name: {"activations": found.values.tolist(), "places": found.places.tolist(), "peaks": found.peaks.tolist()}
        for name, found in by_network.items()
    }
    said = {"model": type(model).__name__, "layer": layer, "units": units, "mean_peak": means, **numbers}
    write_numbers(options.out, "filters", said)
    print(
        f"{layer}: a unit's largest activation lies {means['trained']:.1f} standard deviations above its mean, "
        f"{means['untrained']:.1f} in an untrained network"
    )


def _batches(
    options: argparse.Namespace, model: TwoSided, checkpoint: Path, label: int | None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The pictures that are given, or the run's test images, with their labels."""
    if options.images:
        for x, _ in picture_batches(options.images, model.hparams["shape"], BATCH):
            yield x, repeated(label, len(x))
        return
    data = data_of_run(checkpoint, model, "say which pictures with --images", options.trust)
    for x, y in data.batches("test", BATCH):
        yield x, (y if label is None else torch.full((len(x),), label)) if model.labels else None


def _shown(model: TwoSided, found: Strongest, row: int, layer: str, unit: int) -> Tensor:
    """A unit's images, and what in each of them activates it, grey where nothing does."""
    x, y = found.images[row], None if found.labels is None else found.labels[row]
    gradient = guided_backpropagation(model, x, layer, unit, y).cpu()
    large = (
        gradient.abs().flatten(1).quantile(0.99, 1).clamp(min=1e-30).view(-1, 1, 1, 1)
    )  # a few pixels are far larger
    return torch.cat([x, (0.5 + gradient / (2 * large)).clamp(0, 1)])
