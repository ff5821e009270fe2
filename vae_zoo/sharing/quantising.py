"""Weights and activations of 8 bits, by onnxruntime, and what they cost."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_zoo.errors import UserError
from vae_zoo.models import GenerativeModel
from vae_zoo.sharing.graphs import Decoder, Graph, Pictures, from_bytes
from vae_zoo.sharing.programs import onnx_run

SUFFIX = "_int8.onnx"


@dataclass(frozen=True)
class Cost:
    """What 8 bits cost, mean squared errors in squared pixel units.

    Attributes:
        apart: between the pictures of both, made of the same pictures, or of the same codes without an encoder.
        before: of the reconstructions; None without an encoder.
        after: likewise, of 8 bits.
        share: of the bytes that the files have.
        pictures: how many they were measured on, others than those by which the ranges were chosen.
    """

    apart: float
    before: float | None
    after: float | None
    share: float
    pictures: int


def quantise(graph: Graph, folder: Path) -> Path:
    """Write ``NAME_int8.onnx`` beside ``NAME.onnx``: weights and activations of 8 bits, one scale for each tensor.

    The ranges of the activations are those of the first half of the last of the graph's batches.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    given = [value[: max(1, len(value) // 2)].numpy() for value in graph.batches[-1]]

    class Once(CalibrationDataReader):
        """Hands out one batch."""

        def __init__(self) -> None:
            self.left = [dict(zip(graph.inputs, given, strict=True))]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    path = folder / f"{graph.name}{SUFFIX}"
    logging.disable(logging.WARNING)  # which only advises to fuse nodes first; what it costs is measured
    try:
        quantize_static(
            folder / f"{graph.name}.onnx",
            path,
            Once(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    return path


def cost(graphs: Mapping[str, Graph], folder: Path, pictures: Pictures) -> Cost:
    """Measure what 8 bits cost on the second half of the pictures.

    Args:
        graphs: by name, the encoder, if there is one, and the decoder.
        folder: of their files.
        pictures: whose first half the ranges were chosen by.
    """
    begin = len(pictures.x) // 2
    x = pictures.x[begin:]
    made: list[Tensor] = []
    for suffix in (".onnx", SUFFIX):
        given = [value[begin:] for value in graphs["decoder"].batches[-1]]
        if "encoder" in graphs:
            seen = [value[begin:] for value in graphs["encoder"].batches[-1]]
            given[0] = onnx_run(folder / f"encoder{suffix}")(seen)[0]
        (picture,) = onnx_run(folder / f"decoder{suffix}")(given)
        part = graphs["decoder"].part
        if isinstance(part, Decoder) and part.layout:
            picture = from_bytes(picture, part.layout)
        made.append(picture)
    sizes = [sum((folder / f"{name}{suffix}").stat().st_size for name in graphs) for suffix in (".onnx", SUFFIX)]
    before, after = (_mse(x, picture) if "encoder" in graphs else None for picture in made)
    return Cost(_mse(*made), before, after, sizes[1] / sizes[0], len(x))


def sampled(model: GenerativeModel, n: int) -> Pictures:
    """Return `n` samples of a model, to choose ranges by and to measure on where there are no real pictures."""
    y = torch.arange(n) % model.labels if model.labels else None
    return Pictures(model.sample(n, y), y)


def refuse_sketches(model: GenerativeModel) -> None:
    """Refuse a model that makes no pixels, whose loss could not be told.

    Raises:
        UserError: if it makes none.
    """
    if not model.pixels:
        raise UserError(f"--quantise: {type(model).__name__} makes sketches; what 8 bits cost is measured in pixels")


def _mse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())
