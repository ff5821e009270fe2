"""The test NLL of MNIST models at the ends of the stages of Burda et al.'s schedule, and its curve.

    python benchmarks/burda.py train OUT [--epochs 1 4 13 40 121] [--nll_samples 500] --config paper/iwae_mnist ...
    python benchmarks/burda.py draw OUT... --out docs/burda.png

Training is ``vae-zoo fit`` with the options given, up to the end of one stage after the other, each followed by
``vae-zoo test``; what was cut off goes on. OUT/stages.json has the NLL of each stage.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from vae_zoo import settings
from vae_zoo.runs import Run
from vae_zoo.writing import whole

# One stochastic layer after all 3,280 epochs, in nats: Burda et al. 2016, appendix and table 1.
PAPER = {
    "BinarizedMNIST": {"VAE": 88.71, "IWAE, K = 5": 87.63, "IWAE, K = 50": 87.10},
    "DynamicMNIST": {"VAE": 86.76, "IWAE, K = 5": 85.54, "IWAE, K = 50": 84.78},
}
TITLES = {"BinarizedMNIST": "fixed binarisation", "DynamicMNIST": "pixels drawn anew"}
EPOCHS = [1, 4, 13, 40, 121]


def train(out: Path, epochs: list[int], nll_samples: int, options: list[str]) -> None:
    """Train to the end of each stage and measure it.

    Raises:
        SystemExit: if a command fails, or has trained further than a stage that is to be measured.
    """
    file = out / "stages.json"
    rows = json.loads(file.read_text()) if file.exists() else []
    for end in sorted(epochs):
        if any(row["epochs"] == end for row in rows):
            continue
        fit = ["fit", *options, "--run_dir", str(out), "--ckpt_path", "auto", "--trainer.max_epochs", str(end)]
        test = ["test", "--ckpt_path", str(Run(out).checkpoint())]
        for command in (fit, [*test, "--evaluation.nll_samples", str(nll_samples)]):
            if status := subprocess.call([sys.executable, "-m", "vae_zoo.cli", *command]):
                sys.exit(status)  # the command has said why
        found = Run(out).tested
        if found["epochs"] != end:
            sys.exit(f"{out} is at {found['epochs']} epochs, and can no longer be measured after {end}")
        figures = {name: found["figures"][name] for name in ("nll", "elbo", "active_units")}
        rows.append({"epochs": end, "nll_samples": nll_samples, **figures})
        with whole(file) as part:
            part.write_text(json.dumps(rows, indent=1))


def draw(folders: list[Path], out: Path) -> None:
    """Draw the curves of trained folders, a panel for each data set and size of a batch."""
    panels: dict[tuple[Any, int], list[tuple[Any, Any]]] = {}
    for folder in folders:
        config = Run(folder).config
        name, draws = settings.class_name(config["model"]), settings.arguments(config, "model").get("samples", 1)
        label = name if (name, draws) == ("VAE", 1) else f"{name}, K = {draws}"
        panel = settings.class_name(config["data"]), settings.arguments(config, "data")["batch_size"]
        panels.setdefault(panel, []).append((label, json.loads((folder / "stages.json").read_text())))
    labels = sorted({label for curves in panels.values() for label, _ in curves})
    colours = {label: f"C{i}" for i, label in enumerate(labels)}
    size = 4.6 * len(panels), 3.6
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    for axis, ((data, batch), curves) in zip(axes[0], sorted(panels.items()), strict=True):
        for label, rows in curves:
            xs, ys = ([row[key] for row in rows] for key in ("epochs", "nll"))
            axis.plot(xs, ys, ".-", color=colours[label], linewidth=1)
            if end := PAPER.get(data, {}).get(label):
                axis.plot(3280, end, "*", color=colours[label], markersize=9)
        for label in labels:
            axis.plot([], [], color=colours[label], label=label)
        axis.plot([], [], "*", color="black", label="Burda et al. 2016")
        title = f"{TITLES.get(data, data)}, batches of {batch}"
        axis.set(xscale="log", xlabel="epochs", ylabel="test NLL, nats", ylim=(84, 112), title=title)
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.savefig(out, dpi=90)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("train", help="all options that follow are those of vae-zoo fit")
    one.add_argument("out", type=Path)
    one.add_argument("--epochs", type=int, nargs="+", default=EPOCHS, help="ends of stages (default: %(default)s)")
    one.add_argument("--nll_samples", type=int, default=500, help="importance samples (default: %(default)s)")
    other = commands.add_parser("draw")
    other.add_argument("folders", type=Path, nargs="+")
    other.add_argument("--out", type=Path, default=Path("burda.png"))
    given, options = parser.parse_known_args()
    if given.command == "train":
        train(given.out, given.epochs, given.nll_samples, options)
    elif options:
        parser.error(f"unknown: {' '.join(options)}")
    else:
        draw(given.folders, given.out)


if __name__ == "__main__":
    main()
