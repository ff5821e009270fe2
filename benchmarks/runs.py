"""What a folder of thousands of runs costs: its index, the polling of a comparison, a report, and the page's tab Runs.

    python benchmarks/runs.py [--runs 2000] [--configs 100] [--rounds 3] [--folder FOLDER] [--only index epochs ...]

Two models are trained for two epochs on generated shapes; the runs are copies of theirs with 100 epochs of curves and
with figures of their own, in FOLDER/LIKELIHOOD/CONFIG/seed_N. A folder that is there already is measured as it is. The
seconds are medians after one round that is not counted, so that the files are in memory; those of the processor, of
this process alone, are what a busy machine does not change.
"""

import argparse
import csv
import os
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copyfile
from statistics import median
from time import perf_counter, process_time

import yaml

from vae_zoo.cli import main as vae_zoo
from vae_zoo.compare.comparison import Comparison
from vae_zoo.compare.report import write_report
from vae_zoo.curves import read_rows
from vae_zoo.data.shapes import generate_shapes
from vae_zoo.runs import Run, find_runs

EPOCHS = 100
MODELS = ("vae", "iaf")
LIKELIHOODS = ("Gaussian", "OptimalGaussian")


def train(folder: Path) -> None:
    """Train and test two small models with each likelihood."""
    generate_shapes(folder / "shapes", 448)
    data = {"root": folder / "shapes", "cache_dir": folder / "cache", "image_size": 32}
    data |= {"n_train": 320, "n_test": 64, "n_val": 64, "batch_size": 32}
    words = [word for name, value in data.items() for word in (f"--data.{name}", str(value))]
    words += ["--trainer.accelerator", "cpu", "--evaluation.nll_samples", "5", "--trainer.log_every_n_steps", "1"]
    words += ["--images.epochs", "[0,1,2]", "--epochs", "2", "--out", str(folder / "trained")]
    if vae_zoo(["compare", "--configs", *MODELS, "--likelihoods", *LIKELIHOODS, *words]):
        raise SystemExit("the models could not be trained")


def copies(trained: Path, folder: Path, configs: int, seeds: int) -> None:
    """Make the runs: of each likelihood so many configurations, by turns of each model, with so many seeds."""
    names = [f"{MODELS[i % len(MODELS)]}_{i:04}" for i in range(configs)]
    for likelihood in LIKELIHOODS:
        for i, name in enumerate(names):
            source = Run(trained / likelihood / MODELS[i % len(MODELS)] / "seed_0")
            for seed in range(seeds):
                copy(source, Run(folder / likelihood / name / f"seed_{seed}"), i, seed)
    Comparison(tuple(names), names[0]).write(folder)


def copy(source: Run, run: Run, number: int, seed: int) -> None:
    """Make one run: its figures are those of the source, times a factor of its configuration and one of its seed."""
    run.picture("", 0).parent.mkdir(parents=True)
    run.checkpoint().parent.mkdir()
    os.link(source.checkpoint(), run.checkpoint())
    for kind, epochs in source.pictures.items():
        for epoch, path in epochs.items():
            copyfile(path, run.picture(kind, EPOCHS if epoch == max(epochs) else epoch))
    config = {**source.config, "seed_everything": seed}
    config["trainer"] = {**config["trainer"], "max_epochs": EPOCHS}
    run.config_file.write_text(yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False))
    run.log_file.write_text("$ vae-zoo fit\n" * 100)
    copyfile(source.split_file, run.split_file)
    dice = random.Random(1000 * number + seed)
    factor = (1 + number / 1000) * dice.uniform(0.99, 1.01)
    results = source.tested
    figures = {name: value and value * factor for name, value in results["figures"].items()}
    timing = {**results["timing"], "epoch_seconds": [factor] * EPOCHS}
    run.write_results({**results, "figures": figures, "timing": timing, "epochs": EPOCHS, "seed": seed})
    rows = read_rows(source.metrics_file)
    last = [row for row in rows if row["epoch"] == "1"]
    with open(run.metrics_file, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for epoch in range(EPOCHS):
            for row in last:
                writer.writerow({**row, "epoch": epoch, "step": int(row["step"]) + 10 * (epoch - 1)})


def index(folder: Path) -> int:
    """Find the runs, and read the results of each."""
    return sum(run.results is not None for run in find_runs(folder))


def epochs(folder: Path) -> int:
    """Look how far each run is, as a comparison does again and again."""
    return sum(Run(path).epoch for path in folder.glob("*/*/seed_*"))


def report(folder: Path) -> int:
    """Write the report, and return its bytes."""
    _, (page, *_) = write_report(folder)
    return page.stat().st_size


def page(folder: Path) -> int:
    """Make what the tab Runs of the page shows first, and return its bytes."""
    from vae_zoo.explore import runs
    from vae_zoo.explore.session import Session

    return sum(map(len, runs.look(Session([], folder, 0), "mse", None, None)[-3:]))


PARTS: dict[str, Callable[[Path], int]] = {part.__name__: part for part in (index, epochs, report, page)}


def measure(part: Callable[[Path], int], folder: Path, rounds: int) -> Sequence[float]:
    """Return the median seconds, those of the processor, and what the part returns."""
    times = []
    for _ in range(rounds + 1):
        wall, own = perf_counter(), process_time()
        found = part(folder)
        times.append((perf_counter() - wall, process_time() - own))
    return (*(median(each) for each in zip(*times[1:], strict=True)), found)


def main() -> int:
    """Make the runs, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--configs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="of the runs, which are kept (default: they are removed)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name) / "runs"
        if not folder.exists():
            train(Path(name))
            seeds = options.runs // (len(LIKELIHOODS) * options.configs)
            copies(Path(name) / "trained", folder, options.configs, seeds)
        print(f"{len(find_runs(folder))} runs\n\n| | s | s of the processor | result |\n|---|---|---|---|")
        for part in options.only:
            wall, own, found = measure(PARTS[part], folder, options.rounds)
            print(f"| {part} | {wall:.2f} | {own:.2f} | {found:,} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
