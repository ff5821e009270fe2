"""What `vae_zoo.cli.benchmark` measures: steps of fit, of its phases and of a plain loop, by turns in one training."""

import contextlib
import platform
import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import Profiler
from torch import Tensor
from torch.optim import Optimizer

from vae_zoo.callbacks.timing import forget_peak_memory, peak_memory, synchronise
from vae_zoo.cli.plain_loop import ROUNDS, PlainLoop, matrix_flops
from vae_zoo.errors import amount

PHASES = ("data", "forward", "backward", "optimizer", "Trainer and logging")
STRETCH = 0.4  # seconds of steps of one kind before another kind has its turn
WARM = 5  # steps before anything is measured
GAIN = 1.05  # what is worth advice


@dataclass
class Measured:
    """What a benchmark found. Seconds are medians over stretches of steps that took turns.

    Attributes:
        device: and the number of threads, if it is a CPU.
        items: in a batch.
        step: seconds of a step of ``fit``.
        bare: seconds of the model's own step in a plain loop: no Trainer, the batch in memory.
        shares: of a step of ``fit``, by phase.
        memory_mb: at its highest in training, of the device, or of the whole process on a CPU.
        flops: of a step's convolutions and matrix products.
        matrix_flops: of a large matrix product, per second.
        tried: by what was changed, the items per second of the plain loop over those without the change; or why it
            could not be tried.
    """

    device: str
    items: int
    step: float
    bare: float
    shares: dict[str, float]
    memory_mb: float
    flops: float
    matrix_flops: float
    tried: dict[str, float | str] = field(default_factory=dict)

    @property
    def of_bare_loop(self) -> float:
        """Steps per second of ``fit`` over those of the plain loop."""
        return self.bare / self.step

    @property
    def of_matrix_rate(self) -> float:
        """Convolutions and matrix products per second of ``fit``, over those of a large matrix product alone."""
        return self.flops / self.step / self.matrix_flops

    @property
    def advice(self) -> str:
        """The one change that gains most, or that there is none."""
        gains = {name: gain for name, gain in self.tried.items() if isinstance(gain, float) and gain > GAIN}
        if not gains:
            return f"nothing that was tried is {GAIN - 1:.0%} faster"
        best = max(gains, key=lambda name: gains[name])
        return f"{best}: {gains[best]:.2f} times the items per second"

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items())
        tried = ", ".join(f"{name} {x if isinstance(x, str) else format(x, '.2f')}" for name, x in self.tried.items())
        unit = 1e9 if self.matrix_flops < 1e12 else 1e12
        per_second = f"{self.flops / self.step / unit:.0f} of {self.matrix_flops / unit:.0f}"
        lines = {
            "device": f"{self.device}, torch {torch.__version__}",
            "fit": f"{1 / self.step:.1f} steps/s of {self.items} items, {self.items / self.step:.0f} items/s",
            "of a step": shares,
            "memory": f"{self.memory_mb:,.0f} MB",
            "bare loop": f"{self.of_bare_loop:.2f} of its steps/s",
            "matrix rate": f"{self.of_matrix_rate:.2f} of it, {per_second} {'G' if unit == 1e9 else 'T'}FLOP/s",
        }
        lines |= {"tried": tried, "advice": self.advice} if tried else {}
        return "\n".join(f"{name:13} {text}" for name, text in lines.items())


class Phases(Profiler):
    """Seconds of each phase of a step, while `on`. A phase ends where another one begins, and goes on after it."""

    ACTIONS = {".train_dataloader_next": "data", ".batch_to_device": "data", "Strategy.training_step": "forward"}

    def __init__(self) -> None:
        super().__init__()
        self.on = False
        self.stack = [PHASES[-1]]
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.mark = 0.0
        self.device = torch.device("cpu")

    def start(self, action_name: str) -> None:
        """Begin a phase, if the Trainer's action is one."""
        if phase := self._phase(action_name):
            self.begin(phase)

    def stop(self, action_name: str) -> None:
        """End it."""
        if self._phase(action_name):
            self.end()

    def begin(self, phase: str) -> None:
        """Begin a phase."""
        if self.on:
            self.charge()
            self.stack.append(phase)

    def end(self) -> None:
        """Go back to the phase before."""
        if self.on:
            self.charge()
            self.stack.pop()

    def charge(self) -> None:
        """Add the time since the last mark to the phase at hand."""
        synchronise(self.device)
        now = perf_counter()
        self.seconds[self.stack[-1]] += now - self.mark
        self.mark = now

    def _phase(self, action: str) -> str | None:
        return next((phase for end, phase in self.ACTIONS.items() if action.endswith(end)), None)


class Turns(Callback):
    """Let steps of fit, measured as a whole and by phases, and steps of plain loops take turns within one training."""

    def __init__(self, seconds: float, tries: bool, compiled: bool, ragged: bool) -> None:
        self.limit, self.tries, self.compiled, self.ragged = seconds, tries, compiled, ragged
        self.phases = Phases()
        self.batches: deque[Any] = deque(maxlen=1)  # of the last stretch
        self.measured: Measured | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Get ready."""
        self.phases.device = pl_module.device
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(lambda *_: self.phases.end())
        forget_peak_memory(pl_module.device)
        self.script = self._play(trainer, pl_module)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Begin a phase."""
        self.phases.begin("backward")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End it."""
        self.phases.end()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Begin a phase, which the optimizer ends."""
        self.phases.begin("optimizer")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Go on until fit's next step is wanted."""
        self.batches.append(batch)
        next(self.script, None)

    def _play(self, trainer: Any, model: LightningModule) -> Iterator[None]:
        """Measure; each yield lets fit take a step."""
        device, phases = model.device, self.phases
        loop = PlainLoop(trainer, model, self.compiled, self.ragged)
        for _ in range(WARM):
            yield
        synchronise(device)
        begin = perf_counter()
        yield
        synchronise(device)  # a GPU has only been told of the step
        steps = max(2, int(STRETCH / (perf_counter() - begin)))
        profiler = trainer.profiler  # what fit has, and pays for
        fit: list[float] = []
        bare: list[float] = []
        products: list[float] = []
        by_phase: list[dict[str, float]] = []
        end = perf_counter() + self.limit
        while len(fit) < ROUNDS or perf_counter() < end:
            synchronise(device)
            begin = perf_counter()
            for _ in range(steps):
                yield
            synchronise(device)
            fit.append((perf_counter() - begin) / steps)
            if len(fit) == 1 or self.ragged:  # later, the batches that are kept on a GPU count; sketches are small
                memory = peak_memory(device)
                self.batches = deque(self.batches, steps)
            phases.on, phases.mark, phases.seconds = True, perf_counter(), dict.fromkeys(PHASES, 0.0)
            trainer.profiler = phases
            for _ in range(steps):
                yield
            phases.charge()
            phases.on, trainer.profiler = False, profiler
            by_phase.append(phases.seconds)
            batches = list(self.batches)
            bare.append(loop.seconds(batches))
            products.append(matrix_flops(device, loop.dtype))
        sums = {phase: statistics.median(seconds[phase] for seconds in by_phase) for phase in PHASES}
        self.measured = Measured(
            device=_describe(device),
            items=round(statistics.mean(len(x) for x, _ in batches)),  # an epoch's last one may be small
            step=statistics.median(fit),
            bare=statistics.median(bare),
            shares={phase: value / sum(sums.values()) for phase, value in sums.items()},
            memory_mb=memory,
            flops=loop.flops(batches),
            matrix_flops=statistics.median(products),
        )
        if self.tries:
            self.measured.tried = loop.tried(batches)
        trainer.should_stop = True


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux tells the maker's name
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, {amount(torch.get_num_threads(), 'thread')}"
