"""What encoding a folder costs beyond decoding its pictures once and running the encoder over batches in memory.

    python benchmarks/encode.py CHECKPOINT PICTURES [--n 10000] [--rounds 3]

The three take turns, and medians are compared. The peak memory is that of `vae-zoo encode` in processes of their own,
of a fifth of the pictures and of all.
"""

import argparse
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter

import vae_zoo
from vae_zoo.data.files import Files
from vae_zoo.data.pictures import picture_batches
from vae_zoo.latent import encode
from vae_zoo.models import Autoencoder

SIZE = 256
PEAK = """
import re, sys
from pathlib import Path
from vae_zoo.cli import main
main(sys.argv[1:])
print("peak", re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def main() -> None:
    """Measure, and print the ratio and the two peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("pictures", type=Path, help="a folder or zip")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = vae_zoo.load(options.checkpoint)
    assert isinstance(model, Autoencoder)
    shape = model.hparams["shape"]
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_taken(options.pictures, n, Path(folder) / str(n)) for n in (options.n // 5, options.n))
        batches = [x for x, _ in picture_batches(many, shape, SIZE)]
        seconds: dict[str, list[float]] = {"decoding": [], "encoder": [], "both": []}
        for _ in range(options.rounds):
            began = perf_counter()
            for _ in picture_batches(many, shape, SIZE):
                pass
            seconds["decoding"].append(perf_counter() - began)
            began = perf_counter()
            for x in batches:
                model.encode(x)
            seconds["encoder"].append(perf_counter() - began)
            began = perf_counter()
            encode(model, ((x, None) for x, _ in picture_batches(many, shape, SIZE)))
            seconds["both"].append(perf_counter() - began)
        cost = {name: median(found) for name, found in seconds.items()}
        print(f"{options.n} pictures, seconds: " + ", ".join(f"{name} {each:.2f}" for name, each in cost.items()))
        print(f"ratio of encode to decoding and encoder: {cost['both'] / (cost['decoding'] + cost['encoder']):.2f}")
        for pictures in (few, many):
            command = ("encode", str(pictures), "--ckpt_path", str(options.checkpoint), "--out", f"{folder}/codes.npz")
            done = subprocess.run([sys.executable, "-c", PEAK, *command], capture_output=True, text=True, check=True)
            print(f"peak memory of vae-zoo encode, {pictures.name} pictures: {int(done.stdout.split()[-1]) >> 10} MB")


def _taken(pictures: Path, n: int, folder: Path) -> Path:
    """Copy the first pictures into a folder."""
    files = Files(pictures)
    folder.mkdir()
    for number, name in enumerate(islice(files.pictures(), n)):
        (folder / f"{number:06}{Path(name).suffix}").write_bytes(files.read(name))
    return folder


if __name__ == "__main__":
    main()
