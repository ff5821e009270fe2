"""Several processes that train one model: what each has of its own batch, made what it is of the whole one.

DistributedDataParallel averages gradients over processes. That is the gradient of a loss which is a mean over images;
what is anything else of a batch, such as the largest of two means, goes through here first. All processes must ask at
the same time, which they do in training steps, and not in an evaluation, where one may have a batch more than another.
"""

from typing import Any

import torch
from torch import Tensor, distributed


def alone() -> bool:
    """Whether there is no other process."""
    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


def mean(value: Tensor) -> Tensor:
    """Return the mean of the processes' values, on each.

    The gradient passes unchanged: if all make one loss of the mean, the average of their gradients is the loss's.

    Args:
        value: of any shape, the same on all; of batches of one size.
    """
    return value if alone() else _mean(value)


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes, (W B, ...), in the order of the whole batch, of which each has every W-th row.

    The gradient is that of a loss which all make of all rows.

    Args:
        rows: (B, ...), of one shape on all.
    """
    return rows if alone() else _gather(rows)


def own(rows: Tensor) -> Tensor:
    """Return this process's rows (B, ...) of gathered ones (W B, ...)."""
    return rows if alone() else rows[distributed.get_rank() :: distributed.get_world_size()]


def agreed(value: Any) -> Any:
    """Return the first process's plain value."""
    if alone():
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def take_over(tensors: list[Tensor]) -> None:
    """Give tensors the values that they have in the first process."""
    for tensor in [] if alone() else tensors:
        distributed.broadcast(tensor, 0)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total / distributed.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.detach().contiguous()
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows)
        return torch.stack(parts, 1).flatten(0, 1)  # B W ... -> W B ...

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Each process goes back through its own rows alone, and the average over processes divides by their number.
        return own(gradient) * distributed.get_world_size()


@torch.compiler.disable  # a step that is compiled as a whole is cut here
def _mean(value: Tensor) -> Tensor:
    return _Mean.apply(value)


@torch.compiler.disable
def _gather(rows: Tensor) -> Tensor:
    return _Gather.apply(rows)
