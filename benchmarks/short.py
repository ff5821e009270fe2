"""All ratios that are recorded, in a few minutes: what has become slower is named, and then the exit status is 1.

    python benchmarks/short.py [--record]

A ratio is of two things that took turns in one run, so it says the same on a slow machine as on a fast one, within
what machines differ in. The higher the better. ``--record`` writes what was found to benchmarks/recorded.json.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import models
import sketch
import step
import torch
from photos import MLP, photos_of

from vae_zoo.cli.benchmark import measure

RECORDED = Path(__file__).with_name("recorded.json")
WORSE = 0.85  # of the recorded ratio, below which something has become slower: two runs of one code differ by up to .12


def ratios() -> Iterator[tuple[str, float]]:
    """Yield each ratio's name and value."""
    _, fit, bare = step.measure(["--config", "vae", "--trainer.max_epochs", "7"])
    yield "fit's steps/s over a bare loop's: VAE, 64 x 64", bare / fit
    for what, batch, own in (("", "20", []), ("", "100", []), (", compiled", "20", ["--compile", "true"])):
        epochs = str(int(batch) // 2)
        _, fit, bare = step.measure(
            ["--config", "vae", *MLP, "--data.batch_size", batch, "--trainer.max_epochs", epochs, *own]
        )
        yield f"fit's steps/s over a bare loop's: MLP, batches of {batch}{what}", bare / fit
    median = models.measure(rounds=3, batch=64, samples=5)
    for name in ("AE", "IAFVAE", "CVAE", "AAE", "IWAE"):
        yield f"a VAE's step over that of {name}", median["VAE"] / median[name]
    yield "an encoder and 5 decoders over an IWAE's step", (median["encoder"] + 5 * median["decoder"]) / median["IWAE"]
    with photos_of(1088) as data:
        found = measure(["--config", "vae", *data], seconds=15, tries=False)
    yield "fit's convolutions over a matrix product: VAE, 64 x 64", found.of_matrix_rate
    fit, alone = sketch.measure(["--trainer.max_epochs", "2", "--data.n_train", "2000"])
    yield "Sketch-RNN's points/s over torch.nn.LSTM's", fit / alone


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the ratios that are found")
    options = parser.parse_args()
    recorded = json.loads(RECORDED.read_text()) if RECORDED.is_file() else {"ratios": {}}
    found = {}
    for name, ratio in ratios():
        found[name] = round(ratio, 3)
        before = recorded["ratios"].get(name)
        print(f"{ratio:6.3f}  {name}" + (f" (recorded: {before})" if before else ""), flush=True)
    if options.record:
        where = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
        RECORDED.write_text(json.dumps({"machine": where, "ratios": found}, indent=2) + "\n")
        return 0
    slower = [name for name, ratio in found.items() if ratio < WORSE * recorded["ratios"].get(name, 0)]
    for name in slower:
        print(f"SLOWER: {name}: {found[name]}, recorded {recorded['ratios'][name]} on {recorded['machine']}")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
