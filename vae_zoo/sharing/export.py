"""A model as a folder that one hands on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from vae_zoo import exported
from vae_zoo.checkpoints import read
from vae_zoo.errors import UserError
from vae_zoo.models import GenerativeModel
from vae_zoo.runs import Run
from vae_zoo.sharing.card import write_card
from vae_zoo.sharing.graphs import Layout, Pictures, graphs_of
from vae_zoo.sharing.programs import trace, write_onnx, write_torch
from vae_zoo.sharing.quantising import Cost, cost, quantise, refuse_sketches, sampled
from vae_zoo.writing import whole_folder

Format = Literal["safetensors", "onnx", "torch"]
DEFAULT: tuple[Format, ...] = ("safetensors",)
SAMPLES = 64  # of the model, for 8 bits, where there are no real pictures


@dataclass
class Exported:
    """What was written.

    Attributes:
        differences: by file, how far it is from the model, see `vae_zoo.sharing.graphs.Graph.difference`.
        tensors: by file, the names of its inputs and outputs.
        cost: of 8 bits; None where they were not asked for.
    """

    differences: dict[str, float] = field(default_factory=dict)
    tensors: dict[str, tuple[Sequence[str], Sequence[str]]] = field(default_factory=dict)
    cost: Cost | None = None


def export(
    model: GenerativeModel,
    out: Path | str,
    formats: Collection[Format] = DEFAULT,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    run: Run | None = None,
    epochs: int | None = None,
    pictures: Pictures | None = None,
    uint8: Layout | None = None,
    int8: bool = False,
    license: str | None = None,
) -> Exported:
    """Write a model to a folder, with a card, ``README.md``, that says what it is.

    ``safetensors`` is for `vae_zoo.load`, which gives the same model to the bit. ``onnx`` and ``torch`` write its
    encoder and its decoder as programs, which take batches of any size, and compare them with the model.

    Args:
        model: in evaluation mode.
        out: the folder, which is not there, or empty.
        formats: one or several.
        name: in the card; by default that of the folder.
        labels: the names of its labels.
        run: that it was trained in, whose data, figures and pictures the card shows.
        epochs: that it was trained for; figures of another state of the run are left out.
        pictures: real ones, on which programs are tried beside random ones.
        uint8: pictures go into programs and come out of them as 8 bits, in this layout, and not as floats in [0, 1].
        int8: write ONNX programs with weights and activations of 8 bits beside the others.
        license: its identifier, such as ``apache-2.0``.

    Raises:
        UserError: if it cannot be exported so, a program differs from it, or the folder has something in it.
        ModuleNotFoundError: if a package for ONNX is not installed.
    """
    out, done = Path(out), Exported()
    if unknown := set(formats) - set(get_args(Format)):
        raise UserError(f"--format {min(unknown)}: there are {', '.join(get_args(Format))}")
    for option, given, needs in (("--uint8", uint8, {"onnx", "torch"}), ("--quantise", int8, {"onnx"})):
        if given and not needs & set(formats):
            raise UserError(f"{option} is for --format {' or '.join(sorted(needs))}")
    if not out.name or out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"--out {out} is there, and has something in it; give a new folder")
    if int8:
        refuse_sketches(model)
        pictures = pictures or sampled(model, SAMPLES)
    programs = {"onnx": write_onnx, "torch": write_torch}
    graphs = graphs_of(model, uint8, pictures) if programs.keys() & set(formats) else []
    with whole_folder(out) as folder:
        if "safetensors" in formats:
            try:
                exported.write(folder, model.state_dict(), model.described(), labels)
            except ValueError as error:  # of what JSON or safetensors have no word for
                raise UserError(f"{type(model).__name__} cannot be exported: {error}") from error
            read(folder)
        for graph in graphs:
            traced = trace(graph)
            for kind in (kind for kind in programs if kind in formats):
                path, difference = programs[kind](graph, traced, folder)
                done.differences[path.name] = difference
                done.tensors[path.name] = graph.inputs, graph.outputs
            if int8:
                done.tensors[quantise(graph, folder).name] = graph.inputs, graph.outputs
        if int8 and pictures:
            done.cost = cost({graph.name: graph for graph in graphs}, folder, pictures)
        write_card(folder, model, name or out.name, done.tensors, labels, run, epochs, uint8, license)
    return done
