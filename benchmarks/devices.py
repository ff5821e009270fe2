"""How much of a step two processes spend in communication, and what 8 and 64 would, by the bytes that they send.

    python benchmarks/devices.py [--config vae] [--steps 60] [--gigabytes 1.25] [any option of vae-zoo fit]

One run of ``vae-zoo fit`` on two processes, in which every second step sends nothing; medians of both kinds. The
prediction is that of a ring, 2 (n - 1) / n times the bytes over the bandwidth of a link, after the step that sends
nothing, with none of it hidden behind the backward pass: an upper bound but for latency.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
from collections.abc import Sequence
from time import perf_counter
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from photos import photos_of
from torch import Tensor, distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future

from vae_zoo.cli import main as vae_zoo
from vae_zoo.newest import first_process

WARM = 10  # steps that are left out
BATCH = 16  # of a process


class Communication(Callback):
    """Lets every second step send nothing, and times both kinds."""

    sent: ClassVar[list[int]] = []  # bytes of gradients, of each step that sends
    seconds: ClassVar[tuple[list[float], list[float]]] = ([], [])  # of steps that send nothing, and of those that send

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stand between the gradients and the other process."""
        self.all_reduce, self.steps, self.sends = distributed.all_reduce, 0, True
        trainer.strategy.model.register_comm_hook(None, self.send)  # type: ignore[union-attr, operator]

    def send(self, _: Any, bucket: distributed.GradBucket) -> Future[Tensor]:
        """Average a bucket of gradients over the processes, or leave it as it is."""
        self.sent[-1] += bucket.buffer().nbytes
        if self.sends:
            return allreduce_hook(None, bucket)  # type: ignore[arg-type]
        done: Future[Tensor] = Future()
        done.set_result(bucket.buffer())
        return done

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock."""
        self.sends = self.steps % 2 == 1
        if not self.sends:
            distributed.all_reduce = lambda _: None  # type: ignore[assignment]
        self.sent.append(0)
        self.begin = perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop it."""
        self.steps += 1
        distributed.all_reduce = self.all_reduce
        if self.steps > WARM:
            self.seconds[self.sends].append(perf_counter() - self.begin)


def measure(config: str, arguments: Sequence[str], steps: int) -> tuple[float, float, int]:
    """Run fit on two processes.

    Args:
        config: the yaml of a model.
        arguments: further ones of ``vae-zoo fit``; without a data.root the images are generated shapes.
        steps: to time.

    Returns:
        medians of a step that sends nothing and of one that sends, in seconds, and the bytes that a process sends.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        given = any(argument.startswith(("--data.root", "--data.path")) for argument in arguments)
        data = [] if given else stack.enter_context(photos_of(640))
        quiet = ["--run_dir", f"{folder}/run", "--images.epochs", "[]", "--trainer.enable_model_summary", "false"]
        quiet += ["--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "1000"]
        quiet += ["--trainer.max_steps", str(steps + WARM), "--trainer.num_sanity_val_steps", "0"]
        own = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--data.batch_size", str(BATCH)]
        own += ["--trainer.callbacks", f"[{{class_path: {__name__}.Communication}}]"]
        with contextlib.redirect_stdout(io.StringIO()):
            status = vae_zoo(["fit", "--config", config, *own, *arguments, *data, *quiet])
    if status or min(map(len, Communication.seconds)) < 2:
        raise SystemExit("fit failed, or had too few steps")
    alone, together = map(statistics.median, Communication.seconds)
    return alone, together, int(statistics.median(Communication.sent[WARM:]))


def main() -> None:
    """Measure, and print a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="vae")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--gigabytes", type=float, default=1.25, help="bandwidth of a link, in 10^9 bytes a second")
    options, rest = parser.parse_known_args()
    torch.set_num_threads(1)
    alone, together, sent = measure(options.config, rest, options.steps)
    if not first_process():
        return
    shares = [0.0, max(0.0, 1 - alone / together)]
    for n in (8, 64):
        ring = 2 * (n - 1) / n * sent / (options.gigabytes * 1e9)
        shares.append(ring / (ring + alone))
    figures = " | ".join(f"{share:.1%}" for share in shares)
    print(f"| {options.config} | {1000 * alone:.0f} ms | {1000 * together:.0f} ms | {sent / 1e6:.2f} MB | {figures} |")


if __name__ == "__main__":
    main()
