"""What a training sets for its process: plain warnings, for as long as it runs, fast arithmetic, and kept memory."""

import ctypes
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

LOGGERS = tuple(map(logging.getLogger, ("lightning.pytorch", "lightning.fabric")))


@contextmanager
def quiet() -> Iterator[None]:
    """Show a warning as one line, without those that say nothing to a user; leave Ctrl-C as it was.

    What TensorBoard's thread could not write, it raises in the thread that logs, too, where it is told in a line.
    """
    levels = [logger.level for logger in LOGGERS]
    interrupt, told = signal.getsignal(signal.SIGINT), threading.excepthook
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # batches come whole from memory
        warnings.filterwarnings("ignore", message=".*Checkpoint directory.*exists and is not empty.*")  # a resumed run
        warnings.filterwarnings("ignore", message=".*Total length of .* is zero.*")  # no image left to validate on
        warnings.filterwarnings("ignore", message=".*WeightAveraging.*outside the 'fit' stage.*")  # they are averaged
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.showwarning = _show
        threading.excepthook = lambda failed: _of_tensorboard(failed.thread) or told(failed)
        for logger in LOGGERS:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            threading.excepthook = told
            for logger, level in zip(LOGGERS, levels, strict=True):
                logger.setLevel(level)
            with suppress(ValueError):  # only a main thread has signals
                signal.signal(signal.SIGINT, interrupt)  # which Lightning turns off at the first


def flush_denormals() -> None:
    """Let the CPU take numbers below 1e-38 for zero, in this thread and those that it starts.

    Small importance weights make gradients so small, and an Intel CPU computes with such numbers in microcode: an IWAE
    with 5 draws takes three times as long there. Threads keep what was set when they were started, so it comes before
    the first operation on several threads.
    """
    torch.set_flush_denormal(True)


def look_for_gpus_once() -> None:
    """Where there is no NVIDIA GPU, let nothing look for one again.

    With the way of looking that Lightning chooses, PyTorch's optimizers search for the driver's library at each step:
    0.15 ms, a twentieth of a step of Burda et al.'s networks.
    """
    if not torch.cuda.is_available():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def computes_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16; without them a step takes several times as long as in float32."""
    return any(has for name, has in torch.cpu.get_capabilities().items() if name.endswith("bf16"))


def keep_freed_memory() -> None:
    """Let glibc keep the memory that is freed, for the next step.

    It would give tensors above 32 MB back to the kernel, which maps and clears them anew in each step: an IWAE's with 5
    draws then takes 1.2 times as long on a CPU. Not for batches that differ in shape: what is kept does not fit the
    next one, and Sketch-RNN takes 1.8 times the memory for .95 of the time.
    """
    with suppress(OSError, AttributeError):  # another C library has other ways
        mmap_max, trim_threshold = -4, -1  # of mallopt(3)
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Let glibc give tensors that are freed back to the kernel, and not keep them for the next ones of their size.

    It would keep what is below 32 MB, once one as large was freed, in an arena for each few threads, where what lives
    longer comes to lie between: a page whose handlers run on many threads grows with each click, though nothing more is
    alive.
    """
    with suppress(OSError, AttributeError):  # another C library has other ways
        mmap_threshold = -3  # of mallopt(3)
        ctypes.CDLL("libc.so.6").mallopt(mmap_threshold, 2**18)


def _of_tensorboard(thread: threading.Thread | None) -> bool:
    return type(thread).__module__.startswith("tensorboard.")


def _show(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
