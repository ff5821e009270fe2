"""log(1 + exp(x)) of pixels."""

from typing import Any

import torch
from torch import Tensor


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)) to the rounding of 1: where its value is below 1e-7 in float32, that may become 0.

    For sums over pixels, on which a small network spends much of its time: PyTorch's keeps all digits of small values
    by log1p, and a CPU takes six times as long for it as for log.
    """
    return _Softplus.apply(x)


class _Softplus(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.maximum(x.clamp(max=80).exp_().add_(1).log_(), x)  # exp(89) is no float32

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0].sigmoid()
