"""Speed and memory of training on a GPU, one row for each model: a table that docs/results.md can take as it is.

    python benchmarks/gpu.py [--seconds 10] [--models VAE AAE] [--batch 128] [--size 64] [--images 6400]
        [--data pictures.zip]

It trains with the options of ``vae-zoo fit``. A cell has the images per second, the steps per second over those of a
plain loop with the batch in memory, the share of the rate of a large matrix product, and the memory. A setting that
cannot be trained, for too little memory, say, has the reason instead. ``--accelerator cpu`` tries it without a GPU.
"""

import argparse
import gc
import shlex
import sys
import tempfile
from pathlib import Path

import torch

from vae_zoo.cli.benchmark import measure
from vae_zoo.cli.process import computes_bf16
from vae_zoo.data.shapes import generate_shapes
from vae_zoo.errors import UserError

MODELS = {"VAE": "vae", "IWAE": "iwae", "IAFVAE": "iaf", "AAE": "aae", "DCGAN": "dcgan"}
PRECISIONS = {
    "32-true": ["--trainer.precision=32-true"],
    "bf16-mixed": ["--trainer.precision=bf16-mixed"],
    "bf16-mixed, compiled": ["--trainer.precision=bf16-mixed", "--compile=true"],
}
SETTINGS = {
    f"{name}, {where}": [*words, f"--data.resident={resident}"]
    for name, words in PRECISIONS.items()
    for where, resident in (("pinned", "false"), ("resident", "true"))
}


def cell(arguments: list[str], seconds: float) -> tuple[str, str | None]:
    """Measure one setting, and return its cell and the device's name, or why there are no figures, and none.

    Raises:
        UserError: if an argument is wrong, which all settings share.
    """
    try:
        found = measure(arguments, seconds, tries=False)
    except UserError:
        raise
    except Exception as error:  # too little memory, no compiler
        return f"failed ({type(error).__name__})", None
    finally:  # what the last setting leaves is not the next one's memory
        gc.collect()
        torch.compiler.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    share = "n/a" if not found.flops else f"{found.of_matrix_rate:.2f}"
    figures = [f"{found.items / found.step:,.0f}", f"{found.of_bare_loop:.2f}", share, f"{found.memory_mb:,.0f} MB"]
    return " / ".join(figures), found.device


def main() -> int:
    """Measure each model in each setting by turns, and print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="to measure, for each of the six cells of a model")
    parser.add_argument("--models", nargs="+", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=6400, help="in an epoch")
    parser.add_argument("--data", help="a folder or zip of pictures; by default generated shapes")
    parser.add_argument("--accelerator", default="gpu", help="cpu, to try this anywhere")
    options = parser.parse_args()
    if options.accelerator != "cpu" and not torch.accelerator.is_available():
        print("There is no GPU here that PyTorch can use; --accelerator cpu tries the benchmark without one.")
        return 1
    bf16 = options.accelerator != "cpu" or computes_bf16()  # without instructions for it a step takes minutes
    settings = {name: words for name, words in SETTINGS.items() if bf16 or not name.startswith("bf16")}
    devices = set()
    with tempfile.TemporaryDirectory() as folder:
        if options.data is None:
            generate_shapes(Path(folder) / "shapes", options.images + options.batch)
        words = {"data.root": options.data or f"{folder}/shapes", "data.cache_dir": folder, "data.val_on_test": "true"}
        words |= {"data.n_train": options.images, "data.n_test": options.batch, "data.image_size": options.size}
        words |= {"data.batch_size": options.batch, "trainer.accelerator": options.accelerator, "trainer.devices": "1"}
        shared = [f"--{name}={value}" for name, value in words.items()]
        print(f"| | {' | '.join(settings)} |\n|{'---|' * (1 + len(settings))}", flush=True)
        for model in options.models:
            print(f"| {model} |", end="", flush=True)
            for setting in settings.values():
                text, device = cell([f"--config={MODELS[model]}", *shared, *setting], options.seconds)
                devices.add(device)
                print(f" {text} |", end="", flush=True)
            print()
    name = ", ".join(sorted(filter(None, devices))) or options.accelerator
    print("\nA cell: images per second / of a plain loop's steps / of the matrix rate / memory.")
    print(f"{name}, torch {torch.__version__}, batches of {options.batch}, {options.size} x {options.size} pixels:")
    print(f"`{shlex.join(['python', *sys.argv])}`\n")
    print('To contribute it, paste all of this into docs/results.md, below "What a step costs on a GPU".')
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"gpu.py: {error}")
