"""Figures 2 and 3 of Kingma & Welling 2014: AEVB (the VAE), wake-sleep and Monte Carlo EM as training goes on.

    python benchmarks/kingma_welling.py train OUT --mnist binarized_mnist.npz --frey frey_faces.npy [--figure 2 | 3]
        [--models VAE WakeSleep MCEM] [--samples 3000000]
    python benchmarks/kingma_welling.py draw OUT --out docs/models/kingma_welling

Training writes a file for each curve, and goes on where it was cut off: a curve that is there is not trained again.
As in the paper: one hidden layer of tanh (500 units on MNIST, 200 on Frey faces, 100 for figure 3), Adagrad with a
rate of .01, .02 or .1, whichever is ahead at first, batches of 100, one draw, and a normal prior of the weights.
"""

import argparse
import functools
import json
import logging
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import torch
from lightning.pytorch import Callback, Trainer
from matplotlib import pyplot as plt
from torch import Tensor
from torch.optim import Adagrad

from vae_zoo import evidence
from vae_zoo.data import BinarizedMNIST, FreyFaces
from vae_zoo.likelihoods import Bernoulli, LearnedGaussian
from vae_zoo.models import MCEM, VAE, WakeSleep
from vae_zoo.networks import MLPDecoder, MLPEncoder
from vae_zoo.writing import whole

BATCH = 100
RATES = (0.01, 0.02, 0.1)
PILOT = {"mnist": 1_000, "frey": 3_000}  # steps after which a rate is chosen
NAMES = {"VAE": "AEVB", "WakeSleep": "wake-sleep", "MCEM": "Monte Carlo EM"}
COLOURS = {"VAE": "tab:red", "WakeSleep": "tab:green", "MCEM": "tab:blue"}


class Cell(NamedTuple):
    """One pair of curves, training and test."""

    figure: int
    data: str
    model: str
    latent: int
    n_train: int | None

    def path(self, folder: Path) -> Path:
        """Return the file of the curves."""
        size = f"_{self.n_train}" if self.n_train else ""
        return folder / f"figure{self.figure}_{self.data}_{self.model}_{self.latent}{size}.json"


CELLS = [Cell(2, "mnist", model, latent, None) for latent in (3, 5, 10, 20, 200) for model in ("VAE", "WakeSleep")]
CELLS += [Cell(2, "frey", model, latent, None) for latent in (2, 5, 10, 20) for model in ("VAE", "WakeSleep")]
CELLS += [Cell(3, "mnist", model, 3, n) for n in (1_000, 50_000) for model in ("VAE", "WakeSleep", "MCEM")]


def points(samples: int, each: int) -> list[int]:
    """Return the numbers of training images after which a curve is measured: so many in each power of ten."""
    found = (round(10 ** (i / each)) for i in range(4 * each, 10 * each))
    return [*(n for n in found if n < samples), samples]


class Curve(Callback):
    """Measure the model after so many training images."""

    def __init__(self, cell: Cell, samples: int, images: dict[str, Tensor]) -> None:
        self.cell, self.images = cell, images
        self.steps = {math.ceil(n / BATCH): n for n in points(samples, 2 if cell.figure == 3 else 4)}
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Measure, if it is time."""
        if trainer.global_step in self.steps:
            measure = marginal if self.cell.figure == 3 else bound
            found = {part: measure(pl_module, x) for part, x in self.images.items()}
            self.rows.append({"samples": trainer.global_step * BATCH, **found})


def bound(model: Any, x: Tensor) -> float:
    """Return the evidence lower bound, averaged over images, in nats."""
    model.eval()
    with torch.no_grad():
        found = float(model.evaluate(x)["figures"]["elbo"].mean())
    model.train()
    return found


def marginal(model: Any, x: Tensor) -> float:
    """Return log p(x) as the paper estimates it, averaged over images, in nats."""
    return float(evidence.harmonic(model.joint(x), draws=100, burn_in=50, leapfrogs=5).mean())


def fit(cell: Cell, data: Any, rate: float, steps: int, callbacks: list[Callback]) -> Any:
    """Train a new model for so many steps."""
    torch.manual_seed(0)
    width = {2: {"mnist": 500, "frey": 200}, 3: {"mnist": 100}}[cell.figure][cell.data]
    # A normal prior N(0, I) of the weights adds |w|^2 / 2 to the sum over all images.
    adagrad = functools.partial(Adagrad, weight_decay=1 / len(data.parts["train"]))
    networks: dict[str, Any] = {
        "lr": rate,
        "decoder": functools.partial(MLPDecoder, width=width, depth=1),
        "likelihood": Bernoulli if cell.data == "mnist" else LearnedGaussian,
    }
    encoder = functools.partial(MLPEncoder, width=width, depth=1)
    if cell.model == "VAE":
        model: Any = VAE(data.shape, cell.latent, encoder, optimizer=adagrad, **networks)
    elif cell.model == "WakeSleep":
        both: dict[str, Any] = {"optimizer": adagrad, "sleep_optimizer": adagrad, "sleep_lr": rate}
        model = WakeSleep(data.shape, cell.latent, encoder, **both, **networks)
    else:
        model = MCEM(data.shape, cell.latent, optimizer=adagrad, **networks)
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=callbacks,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return model


def train(cell: Cell, folder: Path, files: dict[str, str], samples: int) -> None:
    """Train one pair of curves and write them."""
    if cell.data == "mnist":
        data: Any = BinarizedMNIST(files["mnist"], n_train=cell.n_train, batch_size=BATCH)
    else:
        data = FreyFaces(files["frey"], val_blocks=0, batch_size=BATCH)
    data.setup()
    count = 50 if cell.figure == 3 else 1_000
    generator = torch.Generator().manual_seed(0)
    images = {}
    for part in ("train", "test"):
        whole_part, _ = next(data.batches(part, len(data.parts[part])))
        images[part] = whole_part[torch.randperm(len(whole_part), generator=generator)[:count]]
    # Monte Carlo EM has no bound to choose by: its rate is that of AEVB.
    pilot = cell._replace(model="VAE") if cell.model == "MCEM" else cell

    def ahead(rate: float) -> float:
        try:
            found = bound(fit(pilot, data, rate, PILOT[cell.data], []), images["train"])
        except RuntimeError:  # dreams of probabilities that are no numbers: it diverged
            return -math.inf
        return -math.inf if math.isnan(found) else found

    rate = max(RATES, key=ahead)
    curve = Curve(cell, samples, images)
    fit(cell, data, rate, math.ceil(samples / BATCH), [curve])
    with whole(cell.path(folder)) as file:
        file.write_text(json.dumps({**cell._asdict(), "rate": rate, "rows": curve.rows}, indent=1))
    print(cell, "rate", rate, curve.rows[-1], flush=True)


def draw(folder: Path, out: Path) -> None:
    """Draw both figures from the curves that are there."""
    found = {cell: json.loads(cell.path(folder).read_text()) for cell in CELLS if cell.path(folder).exists()}
    rows = [
        ("mnist", "MNIST", [cell for cell in found if cell.figure == 2 and cell.data == "mnist"]),
        ("frey", "Frey faces", [cell for cell in found if cell.figure == 2 and cell.data == "frey"]),
    ]
    figure, axes = plt.subplots(2, 5, figsize=(13, 5.2), squeeze=False, layout="constrained")
    for line, (_, title, cells) in zip(axes, rows, strict=True):
        for axis, latent in zip(line, sorted({cell.latent for cell in cells}), strict=False):
            _curves(axis, {cell: found[cell] for cell in cells if cell.latent == latent})
            axis.set_title(f"{title}, {latent} latent")
            axis.set_ylim((-200, -100) if title == "MNIST" else (0, 1000))
        line[0].set_ylabel("bound, nats")
        for axis in line[len({cell.latent for cell in cells}) :]:
            axis.axis("off")
    axes[0][0].legend(fontsize=8)
    figure.savefig(f"{out}_2.png", dpi=90)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for axis, n in zip(axes, (1_000, 50_000), strict=True):
        _curves(axis, {cell: found[cell] for cell in found if cell.figure == 3 and cell.n_train == n})
        axis.set_title(f"{n:,} training images, 3 latent")
        axis.set_ylim(-200, -130)
    axes[0].set_ylabel("marginal log-likelihood, nats")
    axes[0].legend(fontsize=8)
    figure.savefig(f"{out}_3.png", dpi=90)


def _curves(axis: Any, found: dict[Cell, Any]) -> None:
    for cell, content in found.items():
        for part, style in (("train", "-"), ("test", "--")):
            xs, ys = ([row[key] for row in content["rows"]] for key in ("samples", part))
            axis.plot(xs, ys, style, color=COLOURS[cell.model], label=f"{NAMES[cell.model]}, {part}")
    axis.set_xscale("log")
    axis.set_xlabel("training images seen")
    axis.grid(alpha=0.3)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["train", "draw"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mnist", default="data/binarized_mnist.npz")
    parser.add_argument("--frey", default="data/frey_faces.npy")
    parser.add_argument("--figure", type=int, choices=[2, 3])
    parser.add_argument("--models", nargs="+", choices=[*NAMES], default=[*NAMES])
    parser.add_argument("--samples", type=int, default=3_000_000, help="training images that each curve sees")
    parser.add_argument("--out", type=Path, default=Path("kingma_welling"))
    given = parser.parse_args()
    if given.action == "draw":
        return draw(given.folder, given.out)
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    given.folder.mkdir(parents=True, exist_ok=True)
    for cell in CELLS:
        asked = cell.figure == (given.figure or cell.figure) and cell.model in given.models
        if asked and not cell.path(given.folder).exists():
            train(cell, given.folder, {"mnist": given.mnist, "frey": given.frey}, given.samples)


if __name__ == "__main__":
    main()
