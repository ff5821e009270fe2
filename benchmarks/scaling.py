"""How training grows: with the number of images, their side, the draws of an IWAE, and the steps of a flow.

    python benchmarks/scaling.py [--out scaling.png] [--seconds 10] [--only images side draws steps]

Training is measured as ``vae-zoo benchmark`` does it, on generated shapes. A data set of many images is one of 1,000
under many names. Prints a table of each, and draws them all.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from photos import MLP

from vae_zoo.cli.benchmark import measure
from vae_zoo.cli.turns import Measured
from vae_zoo.data import COCODataModule
from vae_zoo.data.shapes import generate_shapes

Row = dict[str, float]


def images(folder: Path, seconds: float) -> Iterator[Row]:
    """Decode more and more pictures, start again, and go through all once."""
    sources = sorted((folder / "shapes" / "images").iterdir())[:1000]
    for n in (1_000, 10_000, 30_000, 120_000):
        many = folder / f"many_{n}"
        many.mkdir()
        for i in range(n):
            os.link(sources[i % len(sources)], many / f"{i:06}{sources[0].suffix}")
        times = []
        for _ in range(2):  # the first one decodes
            begin = perf_counter()
            n_test = n // 10
            data = COCODataModule(
                str(many), n_train=n - n_test, n_test=n_test, n_val=0, cache_dir=str(folder / "cache")
            )
            data.setup()
            times.append(perf_counter() - begin)
        before = _own_memory()
        for _ in data.batches("train", 128):
            pass
        grown = _own_memory() - before
        yield {"images": n, "first start, s": times[0], "later start, s": times[1], "an epoch's memory, MB": grown}


def side(folder: Path, seconds: float) -> Iterator[Row]:
    """Train a VAE on larger and larger images."""
    for pixels in (32, 64, 128, 256):
        found = _measure(folder, seconds, "vae", "--data.batch_size", "32", "--data.image_size", str(pixels))
        yield {"side": pixels, **_figures(found), "of matrix rate": found.of_matrix_rate}


def draws(folder: Path, seconds: float) -> Iterator[Row]:
    """Train an IWAE with more and more draws; above 50 they are decoded 50 at a time."""
    for k in (1, 5, 50, 500):
        own = ["--model.samples", str(k), "--data.batch_size", "20", *(["--model.chunk", "50"] if k > 50 else [])]
        yield {"draws": k, **_figures(_measure(folder, seconds, "iwae", *MLP, *own))}


def steps(folder: Path, seconds: float) -> Iterator[Row]:
    """Train an IAF-VAE with longer and longer flows."""
    for t in (1, 2, 4, 8, 16):
        found = _measure(folder, seconds, "iaf", "--model.steps", str(t), "--data.image_size", "32")
        yield {"flow steps": t, **_figures(found)}


def _measure(folder: Path, seconds: float, config: str, *options: str) -> Measured:
    data = ["--data.root", str(folder / "shapes"), "--data.cache_dir", str(folder / "cache")]
    sizes = ["--data.n_train", "640", "--data.n_test", "64", "--data.n_val", "64"]
    # In a process of its own, whose memory is not what the last one kept.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, ["--config", config, *data, *sizes, *options], seconds, False).result()


def _figures(found: Measured) -> Row:
    return {"images/s": found.items / found.step, "memory, MB": found.memory_mb, "of plain loop": found.of_bare_loop}


def _own_memory() -> float:
    """The process's own memory in MB, without what is mapped from files; Linux alone tells."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return float("nan")
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status.read_text().splitlines() if "RssAnon" in line)


PARTS: dict[str, Callable[[Path, float], Iterator[Row]]] = {
    part.__name__: part for part in (images, side, draws, steps)
}


def draw(tables: dict[str, list[Row]], path: str) -> None:
    """Draw each table: what is measured, over what was changed, both on logarithmic axes."""
    figure, all_axes = plt.subplots(1, len(tables), figsize=(4 * len(tables), 3.4), squeeze=False, layout="constrained")
    for axes, rows in zip(all_axes[0], tables.values(), strict=True):
        changed, *measured = rows[0]
        for name in measured:
            if not name.startswith("of ") and all(row[name] > 0 for row in rows):
                axes.plot([row[changed] for row in rows], [row[name] for row in rows], "o-", label=name)
        axes.set(xscale="log", yscale="log", xlabel=changed)
        axes.set_xticks([row[changed] for row in rows], [f"{row[changed]:,.0f}" for row in rows], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="scaling.png")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate_shapes(folder / "shapes", 1000)
        for part in options.only:
            tables[part] = []
            for row in PARTS[part](folder, options.seconds):
                if not tables[part]:
                    print(f"\n| {' | '.join(row)} |\n|{'---|' * len(row)}")
                tables[part].append(row)
                print(
                    f"| {' | '.join(f'{value:,.3g}' if value < 1000 else f'{value:,.0f}' for value in row.values())} |"
                )
                sys.stdout.flush()
    draw(tables, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
