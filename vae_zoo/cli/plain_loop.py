"""A model's own step without a Trainer, as it is and with what may be faster; and the rate of matrix products."""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from vae_zoo.callbacks.timing import synchronise
from vae_zoo.cli.lightning import compile_step
from vae_zoo.cli.process import computes_bf16

ROUNDS = 3  # at least so many turns


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


def matrix_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations per second of a product of two large square matrices, as exact as convolutions are.

    Those of float32 round their factors to TF32 on an NVIDIA GPU, unless they are told not to; matrix products do not.
    """
    side = 2048 if device.type == "cpu" else 8192
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        torch.set_float32_matmul_precision("high")
    try:
        for _ in range(2):  # the first one warms up
            synchronise(device)
            begin = perf_counter()
            torch.mm(a, b)
            synchronise(device)
        return 2 * side**3 / (perf_counter() - begin)
    finally:
        torch.set_float32_matmul_precision(before)
