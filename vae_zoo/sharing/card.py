"""The card of a model, ``README.md``: what it is, what it was trained on, how good it is, how to load it."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vae_zoo import __version__, settings
from vae_zoo.errors import UserError, amount, printable
from vae_zoo.exported import CARD, CONFIG, WEIGHTS
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.decoding import Decoding
from vae_zoo.reading import read_file
from vae_zoo.runs import Run
from vae_zoo.sharing.graphs import Layout
from vae_zoo.templates import environment
from vae_zoo.writing import whole

LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
SHOWN = {"reconstructions": "Test images above their reconstructions", "samples": "Samples"}  # of a run's pictures
LARGEST_PICTURE = 2**25  # bytes


def write_card(
    folder: Path,
    model: GenerativeModel,
    name: str,
    tensors: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    labels: Sequence[str] | None = None,
    run: Run | None = None,
    epochs: int | None = None,
    uint8: Layout | None = None,
    license: str | None = None,
) -> None:
    """Write the card of what lies in a folder, and copy the last pictures of the run beside it.

    Args:
        folder: of the exported model.
        model: that it is.
        name: the card's title, and what the model is loaded by.
        tensors: of each file with a program, the names of its inputs and outputs.
        labels: the names of its labels.
        run: that it was trained in, if it is known; nothing in it is trusted.
        epochs: that it was trained for.
        uint8: the layout of pictures of 8 bits in the programs; None is floats.
        license: its identifier.

    Raises:
        UserError: if the license is no identifier.
    """
    if license is not None and not LICENSE.fullmatch(license):
        raise UserError(f"--license {license}: give an identifier such as apache-2.0, mit or cc-by-4.0")
    run = run if run and run.exists else None
    untested = _untested(run, epochs)
    figures = {} if untested or run is None else _figures(run)
    content = {
        "header": _header(model, name, run, figures, license),
        "title": name,
        "what": _first_line(model),
        "model": type(model).__name__,
        "version": __version__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "makes": "images" if model.pixels else "sketches",
        "shape": " x ".join(map(str, model.hparams["shape"])),
        "license": license,
        "snippet": snippet(model, name),
        "files": _files(folder, tensors, _meanings(model, uint8)),
        "prior": _first_line(model.prior) if isinstance(model, Decoding) else None,
        "data": _data(run, epochs) if run else {},
        "labels": labels if model.labels else None,
        "figures": figures,
        "untested": untested,
        "pictures": _copied(run, folder) if run else {},
        "limits": _limits(model),
    }
    page = environment("vae_zoo.sharing")
    page.filters.update(text=_text, code=_code)
    with whole(folder / CARD) as temporary:
        temporary.write_text(page.get_template(f"{CARD}.j2").render(content), encoding="utf-8")


def snippet(model: GenerativeModel, name: str) -> str:
    """Return the few lines that load a model and use it.

    Args:
        model: that is loaded.
        name: what `vae_zoo.load` is given.
    """
    y = ", y" if model.labels else ""
    lines = [f"model = vae_zoo.load({name!r})"]
    lines += [f"y = torch.arange(16) % {model.labels}"] if y else []
    lines += [f"x = model.sample(16{y})" + ("  # (16, C, H, W) in [0, 1]" if model.pixels else "  # (16, T, 5)")]
    if isinstance(model, Autoencoder):
        lines += [f"z = model.encode(x{y})", f"again = model.decode(z{y})"]
    return "\n".join(["import torch, vae_zoo" if y else "import vae_zoo", *lines])


def _untested(run: Run | None, epochs: int | None) -> str | None:
    """Why there are no figures; None if there are."""
    if run is None:
        return "nothing is known of the run that it comes from"
    if run.results is None:
        return f"its run has none: {run.untested}"
    if epochs != run.results["epochs"]:
        tested = amount(run.results["epochs"], "epoch")
        return f"the run was tested after {tested}, and this is its state after {epochs}"
    return None


def _figures(run: Run) -> dict[str, str]:
    """By name the number, or the reason why there is none."""
    results = run.tested
    found = {name: f"{value:.6g}" for name, value in results["figures"].items() if value is not None}
    return found | {name: f"n/a: {reason}" for name, reason in results["reasons"].items()}


def _data(run: Run, epochs: int | None) -> dict[str, str]:
    """What is known of the training; the places of files are nobody's business."""
    hidden = {name.partition(".")[2] for name in settings.FILES} | {"cache_dir"}
    given = {key: value for key, value in settings.arguments(run.config, "data").items() if key not in hidden}
    found = {
        "data": str(settings.class_name(run.config.get("data"))),
        "settings of the data": json.dumps(given, default=str),
    }
    parts = {part: ids for part, ids in run.split.items() if isinstance(ids, list)}
    found |= {"items": ", ".join(f"{len(ids)} {part}" for part, ids in parts.items())} if parts else {}
    split = run.split.get("sha256") or (run.results and run.results["split_sha256"])
    found |= {"SHA-256 of the split": str(split)} if split else {}
    found |= {"likelihood": run.likelihood} if run.likelihood else {}
    found |= {"epochs": str(epochs)} if epochs is not None else {}
    if results := run.results:
        found |= {"seed": str(results["seed"])}
        found |= {"importance samples of the NLL": str(results["nll_samples"])} if results["nll_samples"] else {}
        versions = {**results["environment"], "git revision": results["git_revision"]}
        found |= {"versions": ", ".join(f"{key} {value}" for key, value in versions.items() if value)}
    return found


def _first_line(thing: object) -> str:
    """What the docstring of its class begins with."""
    return (type(thing).__doc__ or type(thing).__name__).strip().partition("\n")[0]


def _meanings(model: GenerativeModel, uint8: Layout | None) -> dict[str, str]:
    """By name what a tensor of a program is, its type and its shape."""
    state = "the state, float32 (B, width)"
    found = {"y": "labels, int64 (B,)", "point": "the last point, float32 (B, 5)", "h": state, "c": state}
    if not model.pixels:
        found["x"] = "sketches, float32 (B, T, 5)"
    elif uint8:
        found["x"] = f"pictures, uint8 (B, {'H, W, C' if uint8 == 'nhwc' else 'C, H, W'})"
    else:
        found["x"] = "pictures, float32 (B, C, H, W) in [0, 1]"
    if isinstance(model, Decoding):
        found["z"] = f"codes, float32 (B, {', '.join(map(str, model.code_shape))})"
    return found


def _files(
    folder: Path, tensors: Mapping[str, tuple[Sequence[str], Sequence[str]]], meanings: Mapping[str, str]
) -> dict[str, str]:
    """By name what a file is."""
    own = {WEIGHTS: "the weights, for `vae_zoo.load`", CONFIG: "the class and its arguments, with checksums"}
    found = {name: said for name, said in own.items() if (folder / name).exists()}
    for name, (inputs, outputs) in tensors.items():
        kind = "ONNX" if name.endswith(".onnx") else "a program of `torch.export`"
        kind += ", weights and activations of 8 bits" if "_int8" in name else ""
        given, made = (
            ", ".join(f"`{each}` ({meanings[each]})" if each in meanings else f"`{each}`" for each in names)
            for names in (inputs, outputs)
        )
        found[name] = f"{kind}: {given} to {made}, for batches of any size B"
    return found


def _copied(run: Run, folder: Path) -> dict[str, str]:
    """Copy the last pictures of a run, and return by their kind what they show."""
    found = {kind: run.pictures[kind] for kind in SHOWN if kind in run.pictures}
    for kind, by_epoch in found.items():
        with whole(folder / f"{kind}.png") as temporary:
            temporary.write_bytes(read_file(by_epoch[max(by_epoch)], LARGEST_PICTURE))
    return {kind: SHOWN[kind] for kind in found}


def _limits(model: GenerativeModel) -> list[str]:
    """What holds of every such model."""
    shape = " x ".join(map(str, model.hparams["shape"]))
    items, look = ("pictures", ": `vae-zoo memorised` looks for such copies") if model.pixels else ("sketches", "")
    found = [
        f"It is for {items} of {shape} like those that it was trained on; given anything else, it draws what it has "
        "learnt.",
        f"What it draws carries the biases of its data, and may copy training {items}{look}.",
        "Each figure comes from one training and one test set, and says nothing about the spread between seeds.",
    ]
    if isinstance(model, Autoencoder) and model.pixels:
        found.append("What a code cannot hold of a picture is lost: reconstructions are smoother than pictures.")
    return found


def _header(model: GenerativeModel, name: str, run: Run | None, figures: Mapping[str, str], license: str | None) -> str:
    """The metadata that the Hub reads, as YAML."""
    told: dict[str, Any] = {"license": license} if license else {}
    tags = ["vae_zoo", type(model).__name__.lower(), "pytorch"]
    tags += ["autoencoder"] if isinstance(model, Autoencoder) else []
    told |= {"library_name": "vae_zoo", "tags": tags}
    if isinstance(model, Decoding) and model.pixels:
        told["pipeline_tag"] = "unconditional-image-generation"
    if run and figures:
        data = str(settings.class_name(run.config.get("data")))
        measured = {key: value for key, value in run.tested["figures"].items() if value is not None}
        told["metrics"] = [*measured]
        result = {
            "task": {"type": "unconditional-image-generation", "name": "Generation and reconstruction"},
            "dataset": {"type": data.lower(), "name": data, "split": "test"},
            "metrics": [{"type": key, "name": key, "value": value} for key, value in measured.items()],
        }
        told["model-index"] = [{"name": name.rpartition("/")[2], "results": [result]}]
    return f"---\n{yaml.safe_dump(told, sort_keys=False)}---\n"


def _text(value: str) -> str:
    """A text in a paragraph of Markdown, in which nothing is markup."""
    plain = " ".join(printable(str(value)).split())
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", html.escape(plain, quote=False)).replace("://", "&#58;//")


def _code(value: str) -> str:
    """A text as code in a cell of a table of Markdown, whatever is in it."""
    plain = " ".join(printable(str(value)).split()).replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", plain)), default=0))
    return f"{fence} {plain} {fence}" if "`" in plain or not plain else f"{fence}{plain}{fence}"
