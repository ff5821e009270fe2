"""What `vae_zoo.cli.benchmark` measures: steps of fit, of its phases and of a plain loop, by turns in one training."""

import contextlib
import platform
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import Profiler
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from vae_zoo.callbacks.timing import forget_peak_memory, peak_memory, synchronise
from vae_zoo.cli.lightning import compile_step
from vae_zoo.cli.process import computes_bf16

PHASES = ("data", "forward", "backward", "optimizer", "Trainer and logging")
STRETCH = 0.4  # seconds of steps of one kind before another kind has its turn
WARM = 5  # steps before anything is measured
ROUNDS = 3  # at least so many turns
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
            "tried": tried or "nothing",
            "advice": self.advice,
        }
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
        sums = {phase: statistics.median(seconds[phase] for seconds in by_phase) for phase in PHASES}
        self.measured = Measured(
            device=_describe(device),
            items=round(statistics.mean(len(x) for x, _ in batches)),  # an epoch's last one may be small
            step=statistics.median(fit),
            bare=statistics.median(bare),
            shares={phase: value / sum(sums.values()) for phase, value in sums.items()},
            memory_mb=memory,
            flops=loop.flops(batches),
            matrix_flops=_matrix_flops(device, loop.dtype),
        )
        if self.tries:
            self.measured.tried = loop.tried(batches)
        trainer.should_stop = True


class PlainLoop:
    """The model's own step without a Trainer, on a batch in memory."""

    def __init__(self, trainer: Trainer, model: Any, compiled: bool, ragged: bool) -> None:
        self.trainer, self.model, self.compiled, self.ragged = trainer, model, compiled, ragged
        self.autocast: Callable[[], Any] = trainer.precision_plugin.train_step_context
        widths = {"bf16": torch.bfloat16, "16": torch.float16}
        self.dtype = widths.get(str(trainer.precision).partition("-")[0], torch.float32)

    def step(self, batch: Any) -> None:
        """Train one step."""
        with self.autocast():
            loss = self.model.training_step(batch, 0)
        if loss is not None:  # else the model has stepped its optimizers itself
            (optimizer,) = self.trainer.optimizers
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def seconds(self, batches: Sequence[Any]) -> float:
        """Train a step with each batch and return the seconds of one."""
        every, self.trainer.log_every_n_steps = self.trainer.log_every_n_steps, 0  # type: ignore[attr-defined]
        try:
            with torch.enable_grad():
                synchronise(self.model.device)
                begin = perf_counter()
                for batch in batches:
                    self.step(batch)
                synchronise(self.model.device)
                return (perf_counter() - begin) / len(batches)
        finally:
            self.trainer.log_every_n_steps = every  # type: ignore[attr-defined]

    def flops(self, batches: Sequence[Any]) -> float:
        """Count those of a step's convolutions and matrix products."""
        with _Flops() as counter, torch.compiler.set_stance("force_eager"):
            self.seconds(batches)
        return counter.total / len(batches)

    def tried(self, batches: Sequence[Any]) -> dict[str, float | str]:
        """What each change gains, in items per second: each takes turns with the loop as it is."""
        cpu = self.model.device.type == "cpu"
        changes: dict[str, tuple[Callable[[], Any], int]] = {
            f"data.batch_size {2 * max(len(x) for x, _ in batches)}": (contextlib.nullcontext, 2)
        }
        if self.dtype == torch.float32 and (not cpu or computes_bf16()):
            changes["trainer.precision bf16-mixed"] = self._bf16, 1
        if cpu and (threads := torch.get_num_threads()) > 1:
            changes[f"OMP_NUM_THREADS={threads // 2}"] = lambda: _threads(threads // 2), 1
        if not (self.compiled or self.ragged):
            changes["compile true"] = self._compiled, 1
        found: dict[str, float | str] = {}
        for name, (change, times) in changes.items():
            larger = [[torch.cat([part] * times) for part in batch] for batch in batches]
            try:
                found[name] = times / self._ratio(change, batches, larger)
            except Exception as error:  # too little memory, no C++ compiler: anything, and it is only tried
                found[name] = f"failed ({type(error).__name__})"
        return found

    def _ratio(self, change: Callable[[], Any], before: Sequence[Any], after: Sequence[Any]) -> float:
        """Seconds of a changed step over those of one as it is."""
        with change():
            self.seconds(after[:2])
        seconds: tuple[list[float], list[float]] = [], []
        for _ in range(ROUNDS):
            seconds[0].append(self.seconds(before))
            with change():
                seconds[1].append(self.seconds(after))
        return statistics.median(seconds[1]) / statistics.median(seconds[0])

    @contextlib.contextmanager
    def _compiled(self) -> Iterator[None]:
        compile_step(self.model)
        try:
            yield
        finally:
            vars(self.model).pop(self.model.whole_step, None)  # which then is the class's method again
            for module in self.model.modules():
                module._compiled_call_impl = None

    @contextlib.contextmanager
    def _bf16(self) -> Iterator[None]:
        before, self.autocast = self.autocast, lambda: torch.autocast(self.model.device.type, torch.bfloat16)
        try:
            yield
        finally:
            self.autocast = before


class _Flops(TorchDispatchMode):
    """Count floating point operations; `FlopCounterMode` cannot, where a gradient has a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _matrix_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations per second of a product of two large square matrices, as exact as convolutions are.

    Those of float32 round their factors to TF32 on an NVIDIA GPU, unless they are told not to; matrix products do not.
    """
    side = 2048 if device.type == "cpu" else 8192
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    seconds = []
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        torch.set_float32_matmul_precision("high")
    try:
        for _ in range(ROUNDS + 2):
            synchronise(device)
            begin = perf_counter()
            torch.mm(a, b)
            synchronise(device)
            seconds.append(perf_counter() - begin)
    finally:
        torch.set_float32_matmul_precision(before)
    return 2 * side**3 / statistics.median(seconds[2:])


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux tells the maker's name
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, {torch.get_num_threads()} threads"
