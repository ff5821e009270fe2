"""``vae-zoo probe``: a linear classifier on a trained model's features."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vae_zoo.cli.parser import Parser
from vae_zoo.cli.trained import add_checkpoint, data_of_run, load_trained
from vae_zoo.data.module import DataModule, Part
from vae_zoo.errors import UserError, require
from vae_zoo.metrics.probe import LabelledFeatures, probe
from vae_zoo.models import GenerativeModel
from vae_zoo.runs import of_checkpoint


def run(arguments: Sequence[str]) -> None:
    """Run ``vae-zoo probe``, which writes probe.json to the run's folder."""
    parser = Parser(
        prog="vae-zoo probe",
        description="Fit a linear classifier on frozen features: an encoder's means, or a discriminator's maps.",
        allow_abbrev=False,
    )
    add_checkpoint(parser)
    parser.add_argument("--few", type=int, nargs="*", default=[100, 1000], help="numbers of labels (default 100 1000)")
    parser.add_argument("--draws", type=int, default=5, help="how often few labels are drawn (default %(default)s)")
    parser.add_argument("--c", type=float, default=1.0, help="inverse weight of the coefficients (default %(default)s)")
    parser.add_argument("--max_iter", type=int, default=1000, help="steps of a fit, at most (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default %(default)s)")
    parser.add_argument("--batch_size", type=int, default=256, help="images at a time (default %(default)s)")
    options = parser.parse_args(arguments)
    require(1, batch_size=options.batch_size)
    require(0, seed=options.seed)
    require(2, few=min(options.few, default=2))
    model, checkpoint = load_trained(options)
    data = data_of_run(checkpoint, model, "a probe needs its data", options.trust)
    if data.facts.labels < 2:
        raise UserError(f"the data have one label, {data.facts.label_names[0]!r}; a probe needs two or more")
    train, test = (_features(model, data, part, options.batch_size) for part in ("train", "test"))
    print(
        f"fitting {1 + len(options.few) * options.draws} classifiers to {' x '.join(map(str, train[0].shape))} features"
    )
    found: dict[str, Any] = {"model": type(model).__name__}
    found |= probe(train, test, options.few, options.draws, options.c, options.max_iter, options.seed)
    if not found["converged"]:
        print(f"warning: not converged after {options.max_iter} steps; give a larger --max_iter", file=sys.stderr)
    print(f"{found['features']} features of {type(model).__name__}, {found['labels']} labels")
    print(f"accuracy      {found['accuracy']:.4f}   with all {found['n_train']} labels; chance {found['chance']:.4f}")
    for n, error in found["error"].items():
        said = f"{error['mean']:.4f} ± {error['std']:.4f}   with" if error else "n/a, there are not"
        print(f"error         {said} {n} labels")
    folder = of_checkpoint(checkpoint)
    assert folder  # where the data were found
    folder.write_probe(found)
    print(f"wrote         {folder.probe_file}")


def _features(model: GenerativeModel, data: DataModule, part: Part, size: int) -> LabelledFeatures:
    """The features (N, F) and labels (N,) of a part."""
    batches = data.batches(part, size)
    with torch.no_grad():
        features, labels = zip(*((model.features(x).float().numpy(), y.numpy()) for x, y in batches), strict=True)
    if not all(np.isfinite(batch).all() for batch in features):
        raise UserError(f"{type(model).__name__} has features that are not finite, as after a training that diverged")
    return np.concatenate(features), np.concatenate(labels)
