"""A model's parts as files that other programs run: ONNX, and torch.export. Each is compared with the model."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._decomp import decomposition_table
from torch.export import ExportedProgram

from vae_zoo.errors import UserError
from vae_zoo.sharing.graphs import Graph

TOLERANCE = 1e-4  # by which what is exported may differ from the model, see `Graph.difference`
Run = Callable[[Sequence[Tensor]], list[Tensor]]


def write_torch(graph: Graph, traced: ExportedProgram, folder: Path) -> tuple[Path, float]:
    """Write ``NAME.pt2``, for `torch.export.load`, and return how far it is from the model.

    Raises:
        UserError: if that is more than `TOLERANCE`.
    """
    path = folder / f"{graph.name}.pt2"
    with _quiet():
        torch.export.save(traced, path)
    program = torch.export.load(path).module()

    def run(given: Sequence[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return [*program(*given)]

    return path, _checked(graph, run, path.name)


def write_onnx(graph: Graph, traced: ExportedProgram, folder: Path) -> tuple[Path, float]:
    """Write ``NAME.onnx``, and return how far it is from the model, run by onnxruntime.

    Raises:
        UserError: if that is more than `TOLERANCE`, or there is no ONNX for something in it.
        ModuleNotFoundError: if one of the packages of vae_zoo[onnx] is not installed.
    """
    import onnx
    import onnxruntime  # noqa: F401  before the work: what is missing is reported at once
    import onnxscript  # noqa: F401

    path = folder / f"{graph.name}.onnx"
    try:
        with _quiet(), _lstm_by_its_shapes():
            program = torch.onnx.export(
                traced, dynamo=True, verbose=False, input_names=graph.inputs, output_names=graph.outputs
            )
    except Exception as error:  # a user's own networks can have anything in them
        raise UserError(f"the {graph.name} has no ONNX: {' '.join(str(error).split())[:300]}") from error
    assert program is not None
    content = program.model_proto
    first = content.graph.input[0].type.tensor_type.shape.dim
    names = {first[place].dim_param: name for place, name in graph.sizes.items()}
    del content.graph.value_info[:]  # shapes in between, which onnxruntime infers anew
    for value in (*content.graph.input, *content.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda match: names.get(match[0], match[0]), dim.dim_param)
    for each in (content, content.graph, *content.graph.node, *content.functions):
        del each.metadata_props[:]  # lines of source code, with their paths on this machine
    onnx.save(content, path)
    return path, _checked(graph, onnx_run(path), path.name)


def onnx_run(path: Path) -> Run:
    """Return a function that runs an ONNX file on the CPU: tensors to tensors."""
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(given: Sequence[Tensor]) -> list[Tensor]:
        feed = {name: value.numpy() for name, value in zip(names, given, strict=True)}
        return [torch.from_numpy(value) for value in session.run(None, feed)]

    return run


def trace(graph: Graph) -> ExportedProgram:
    """Return the program of a part, for batches of any size, with the weights that it uses.

    Raises:
        UserError: if PyTorch cannot trace it.
    """
    sizes = {place: torch.export.Dim(name) for place, name in graph.sizes.items()}
    given = tuple(value.contiguous() for value in graph.batches[0])  # else its strides are taken for the only ones
    try:
        with _quiet(), _lstm_by_its_shapes(), torch.no_grad():  # throughout, so that it can be differentiated
            traced = torch.export.export(graph.part, given, dynamic_shapes=(sizes,) * len(given), strict=False)
    except Exception as error:  # a user's own networks can do anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the {graph.name} cannot be exported: {reason}") from error
    for module in traced.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # lines of source code, with their paths on this machine
    return traced


def _checked(graph: Graph, run: Run, name: str) -> float:
    try:
        worst = max(graph.difference(run(given), given) for given in graph.batches)
    except Exception as error:  # of a library that runs it
        raise UserError(f"{name} cannot be run: {' '.join(str(error).split())[:300]}") from error
    if not worst <= TOLERANCE:
        raise UserError(f"{name} differs from the model by {worst:.2g}, more than {TOLERANCE:g}, so it is not written")
    return worst


@contextmanager
def _lstm_by_its_shapes() -> Iterator[None]:
    """Let the tracer know what an LSTM gives by its shapes: it would loop over time, for minutes, and fix its length.

    The LSTM itself is what is exported; should its place ever be taken by what is made here, the comparison fails.
    """
    operator, key = torch.ops.aten.lstm.input, DispatchKey.CompositeImplicitAutograd
    before, before_in_table = operator.py_kernels[key], decomposition_table[operator]

    def shapes(x: Tensor, state: list[Tensor], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
        h, c = (part.new_empty(part.shape) for part in state)
        return x.new_empty(*x.shape[:2], h.shape[2]), h, c

    def put(kernel: Any, in_table: Any) -> None:
        operator.py_kernels[key], decomposition_table[operator] = kernel, in_table
        operator._dispatch_cache.clear()

    put(shapes, shapes)
    try:
        yield
    finally:
        put(before, before_in_table)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch's exporter, which tells of what does not concern a user, from talking."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
