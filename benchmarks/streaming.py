"""Shard a million synthetic pictures; stream them by two processes, kill these, go on; compare with the cache.

    python benchmarks/streaming.py --folder DIR [--n 1000000] [--only shard|resume|speed]

It needs 12 GB in DIR for a million pictures of 64 x 64, which stay there.
"""

import argparse
import os
import signal
import statistics
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from vae_zoo.data import ImageDataset, StreamingImages
from vae_zoo.data.module import ResumableLoader, uncollated
from vae_zoo.data.sharding import write_shards
from vae_zoo.data.sources import Picture
from vae_zoo.data.streaming import StreamedImages

SIDE, BATCH = 64, 256
MB = 1e6


def bmp(number: int) -> bytes:
    """A picture of noise, which no compression makes smaller, as a BMP, which is decoded in no time."""
    pixels = np.random.default_rng(number).bytes(3 * SIDE**2)
    header = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    return header + struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, len(pixels), 0, 0, 0, 0) + pixels


def pictures(n: int) -> Iterator[Picture]:
    """Pictures that are made when they are read."""
    for number in range(n):
        yield Picture(f"{number:08d}", str(number % 10), partial(bmp, number))


def memory() -> dict[str, float]:
    """Megabytes of this process: its own, and of files that are mapped, which the system may take back."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(status[name].split()[0]) * 1024 / MB for name in ("RssAnon", "RssFile")}


class Watched(LightningModule):
    """Computes nothing, and notes each batch's images, and each hundredth's memory."""

    def __init__(self, notes: str) -> None:
        super().__init__()
        self.notes, self.weight = notes, torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Note them."""
        seen = zlib.crc32(batch[0][:, :, ::16, ::16].numpy().tobytes())
        used = memory() if batch_idx % 100 == 0 else {}
        with open(f"{self.notes}.{self.trainer.global_rank}", "a") as file:
            print(batch_idx, seen, *used.values(), file=file)
        return self.weight * 0

    def configure_optimizers(self) -> Any:
        """Any."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Dies(Callback):
    """Kills both processes."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Kill."""
        if trainer.global_step == self.step:
            trainer.strategy.barrier()
            os.kill(os.getpid(), signal.SIGKILL)


def train(shards: str, notes: str, folder: str, dies: int, resume: bool) -> None:
    """Train an epoch in two processes."""
    seed_everything(5, verbose=False)
    saves = ModelCheckpoint(folder, "last", every_n_train_steps=100, enable_version_counter=False)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        callbacks=[Dies(dies), saves],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    data = StreamingImages(shards, batch_size=BATCH)
    trainer.fit(Watched(notes), datamodule=data, ckpt_path=f"{folder}/last.ckpt" if resume else None)


def resumed(folder: Path) -> None:
    """Compare a training that was killed and went on with one that was not."""
    own = [sys.executable, __file__, "--folder", str(folder), "--child"]

    def run(name: str, *words: str) -> float:
        begin = time.perf_counter()
        done = subprocess.run([*own, name, *words], capture_output=True, text=True)
        if done.returncode not in (0, -signal.SIGKILL):
            raise SystemExit(done.stderr)
        return time.perf_counter() - begin

    for path in folder.glob("notes-*"):
        path.unlink()
    seconds = run("whole")
    steps = len((folder / "notes-whole.0").read_text().splitlines())
    dies = int(0.4 * steps) + 50
    run("cut", "--dies", str(dies))
    again = run("cut", "--resume")
    for rank in (0, 1):
        whole, cut = (
            [line.split() for line in (folder / f"notes-{name}.{rank}").read_text().splitlines()]
            for name in ("whole", "cut")
        )
        saved = dies // 100 * 100
        rest = [line[:2] for line in cut[dies:]]
        same = [line[:2] for line in cut[:dies]] == [line[:2] for line in whole[:dies]] and rest == [
            line[:2] for line in whole[saved:]
        ]
        used = [(int(line[0]), float(line[2]), float(line[3])) for line in whole if len(line) > 2]
        shown = ", ".join(f"{step}: {own:.0f} + {mapped:.0f}" for step, own, mapped in used[:: max(1, len(used) // 8)])
        print(f"process {rank}: {len(whole)} steps, killed at {dies}, resumed at {saved}; the same images: {same}")
        print(f"  MB of its own + of mapped files, by step: {shown}")
    print(f"an epoch took {seconds:.0f} s, the rest of the one that was cut {again:.0f} s")


def speed(folder: Path, n: int, seconds: float) -> None:
    """Batches per second of shards and of a memory-mapped array of the same images, both in the page cache."""
    data = StreamingImages(str(folder / "shards"), batch_size=64)
    data.setup()
    items = data.parts["train"]
    assert isinstance(items, StreamedImages)
    n = min(n, len(items))
    path = folder / "cache.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (n, SIDE, SIDE, 3))
    for begin in range(0, n, 1000):
        array[begin : begin + 1000] = items.__getitems__(list(range(begin, min(begin + 1000, n))))[0].numpy()
    array.flush()
    cached = ImageDataset(np.load(path, mmap_mode="r"), torch.zeros(n, dtype=torch.int64), np.arange(n))
    few = max(number for number in range(len(items.chunks)) if items._ends[number] <= n)
    items.chunks.files = items.chunks.files[:few]
    items._ends = items._ends[:few]
    items.ids = range(int(items._ends[-1]))  # type: ignore[assignment]

    def batches(of: Any) -> Callable[[], Iterator[Any]]:
        order = of.order(1, 0, 0)
        loader: DataLoader = ResumableLoader(of, batch_size=64, sampler=order, collate_fn=uncollated)
        return lambda: iter(loader)

    loaders = {"cache": batches(cached), "shards": batches(items)}
    for make in loaders.values():
        for _ in make():  # once, so that pages and checksums are known
            pass
    ratios: list[float] = []
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(20):
        for name in sorted(loaders, reverse=bool(turn % 2)):
            done, since, iterator = 0, time.perf_counter(), loaders[name]()
            while time.perf_counter() - since < seconds:
                try:
                    next(iterator)
                    done += 1
                except StopIteration:
                    iterator = loaders[name]()
            rates[name].append(done / (time.perf_counter() - since))
        ratios.append(rates["shards"][-1] / rates["cache"][-1])
    told = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{n} images, batches of 64 a second: " + ", ".join(f"{name} {rate:.0f}" for name, rate in told.items()))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"shards over cache: median {statistics.median(ratios):.2f}, {spread}; {1e6 / told['shards']:.0f} us a batch")
    path.unlink()


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("shard", "resume", "speed"))
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn of the comparison")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--dies", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder, shards = options.folder, str(options.folder / "shards")
    if options.child:
        places = str(folder / f"notes-{options.child}"), str(folder / f"saved-{options.child}")
        train(shards, *places, options.dies, options.resume)
        return
    if options.only in (None, "shard"):
        begin = time.perf_counter()
        counts = write_shards(pictures(options.n), shards, (3, SIDE, SIDE), 0.01, 0.01, total=options.n)
        taken = time.perf_counter() - begin
        print(f"{counts}: {taken:.0f} s, {options.n / taken:.0f} a second, {memory()['RssAnon']:.0f} MB of memory")
    if options.only in (None, "resume"):
        resumed(folder)
    if options.only in (None, "speed"):
        speed(folder, 100_000, options.seconds)


if __name__ == "__main__":
    main()
