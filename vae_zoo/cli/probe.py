"""``vae-zoo probe``: a linear classifier on a trained model's features."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import vae_zoo
from vae_zoo.cli.runs import data_of_run, find_checkpoint, run_folder
from vae_zoo.data.module import Part, SplitDataModule
from vae_zoo.errors import UserError, require
from vae_zoo.metrics.probe import Labelled, probe
from vae_zoo.models import GenerativeModel


def run(command: str, arguments: Sequence[str]) -> None:
    """Run ``vae-zoo probe``, which writes probe.json to the run's folder."""
    parser = argparse.ArgumentParser(
        prog="vae-zoo probe",
        description="Fit a linear classifier on frozen features: an encoder's means, or a discriminator's maps.",
        allow_abbrev=False,
    )
    parser.add_argument("--ckpt_path", default="last", help="a checkpoint, or last: the newest run's (default)")
    parser.add_argument("--few", type=int, nargs="*", default=[100, 1000], help="numbers of labels (default 100 1000)")
    parser.add_argument("--draws", type=int, default=5, help="how often few labels are drawn (default %(default)s)")
    parser.add_argument("--c", type=float, default=1.0, help="inverse weight of the coefficients (default %(default)s)")
    parser.add_argument("--max_iter", type=int, default=1000, help="steps of a fit, at most (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default %(default)s)")
    parser.add_argument("--batch_size", type=int, default=256, help="images at a time (default %(default)s)")
    options = parser.parse_args(arguments)
    require(1, batch_size=options.batch_size)
    require(2, few=min(options.few, default=2))
    checkpoint = cast(Path, find_checkpoint("last" if options.ckpt_path == "auto" else options.ckpt_path))
    model = vae_zoo.load(checkpoint)
    data = data_of_run(checkpoint, "a probe needs its data")
    if len(data.labels) < 2:
        raise UserError(f"the data have one label, {data.labels[0]!r}; a probe needs two or more")
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
    path = cast(Path, run_folder(checkpoint)) / "probe.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(f"wrote         {path}")


def _features(model: GenerativeModel, data: SplitDataModule, part: Part, size: int) -> Labelled:
    """The features (N, F) and labels (N,) of a part."""
    batches = data.batches(part, size)
    with torch.no_grad():
        features, labels = zip(*((model.features(x).float().numpy(), y.numpy()) for x, y in batches), strict=True)
    return np.concatenate(features), np.concatenate(labels)
