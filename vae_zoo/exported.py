"""The folder that a model is handed on in: weights as safetensors, and as JSON what they are of. It is not trusted.

Neither file can name code that is run: what they say is held against `vae_zoo.trust` as a checkpoint is.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from vae_zoo import __version__
from vae_zoo.reading import read_file, require_size
from vae_zoo.writing import write_json

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
LARGEST_CONFIG = 2**22  # bytes: 13,000 captions have a quarter of that, and as names of labels another quarter
LARGEST_WEIGHTS = 2**31  # bytes
KINDS: dict[str, type | tuple[type, ...]] = {
    "library": str,
    "version": str,
    "class_path": str,
    "hyper_parameters": dict,
    "label_names": (list, type(None)),
    "sha256": str,
    "checksum": str,
}


def write(
    folder: Path, weights: Mapping[str, Tensor], hyper_parameters: Mapping[str, Any], labels: Sequence[str] | None
) -> None:
    """Write the two files into a folder.

    Args:
        folder: that is there.
        weights: by name.
        hyper_parameters: as a checkpoint has them, plain values with ``_class_path`` among them.
        labels: the names of the labels, if they are known.

    Raises:
        ValueError: if a hyper-parameter is an infinite number or none, for which JSON has no word, or they are more
            than are read.
    """
    # One storage each: what a model shares between two names, safetensors would refuse.
    content = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()})
    given = dict(hyper_parameters)
    config = {
        "library": "vae_zoo",
        "version": __version__,
        "class_path": given.pop("_class_path"),
        "hyper_parameters": given,
        "label_names": labels if labels is None else list(labels),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / WEIGHTS).write_bytes(content)
    write_json(folder / CONFIG, {**config, "checksum": _checksum(config)})
    require_size((folder / CONFIG).stat().st_size, LARGEST_CONFIG)


def read(folder: Path) -> tuple[dict[str, Any], int, bool]:
    """Return what such a folder holds in the form of a checkpoint, its bytes, and whether it is as it was written.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if one is missing, a link, too large, or holds something else.
    """
    for name in (CONFIG, WEIGHTS):
        if (folder / name).is_symlink():
            raise ValueError(f"its {name} is a link, which is not followed")
        if not (folder / name).exists():
            raise ValueError(f"it has no {name}")
    config = read_config(folder / CONFIG)
    content = read_file(folder / WEIGHTS, LARGEST_WEIGHTS)
    intact = hashlib.sha256(content).hexdigest() == config["sha256"] and _checksum(config) == config["checksum"]
    try:
        weights = load(content) if intact else {}
    except Exception as error:  # of a foreign library
        raise ValueError(f"its {WEIGHTS} cannot be read: {error}") from error
    saved = {
        "state_dict": weights,
        "hyper_parameters": {**config["hyper_parameters"], "_class_path": config["class_path"]},
        "callbacks": {"Evaluation": {"labels": config["label_names"]}},
        "loops": {},
        "epoch": 0,
        "global_step": 0,
    }
    return saved, len(content), intact


def read_config(path: Path) -> dict[str, Any]:
    """Return what a config.json says, each key of its kind.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is none of a vae_zoo model.
    """
    try:
        config = json.loads(read_file(path, LARGEST_CONFIG), parse_constant=_refuse)
    except RecursionError:
        config = None
    if not isinstance(config, dict) or config.get("library") != "vae_zoo":
        raise ValueError(f"its {CONFIG} is none of vae_zoo")
    for name, kind in KINDS.items():
        if not isinstance(config.get(name), kind):
            raise ValueError(f"its {CONFIG} has no {name} as vae_zoo writes it")
    if not all(isinstance(name, str) for name in config["label_names"] or ()):
        raise ValueError(f"its {CONFIG} has label_names that are no texts")
    return config


def _refuse(constant: str) -> None:
    raise ValueError(f"its {CONFIG} has {constant} in it, which is no number")


def _checksum(config: Mapping[str, Any]) -> str:
    """The SHA-256 of all else that a config.json says, whatever its layout."""
    rest = {name: value for name, value in config.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, allow_nan=False).encode()).hexdigest()
