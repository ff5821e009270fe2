"""Checkpoint files and exported folders: read without executing anything, verified, and turned into models."""

import hashlib
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from vae_zoo import exported
from vae_zoo.errors import UserError
from vae_zoo.hyperparameters import plain
from vae_zoo.settings import parameters_of
from vae_zoo.trust import are_texts, refuse_arguments, resolve

M = TypeVar("M", bound=LightningModule)
CHECKSUM = "checksum"
MORE = 4  # times as many bytes as a checkpoint has may be in it, where some are held at several places
LARGEST = 1_000_000  # values in a checkpoint, one that is held at several places counted at each
LONGEST = 10_000  # values in the hyper-parameters, but for arguments that are many texts
# What a checkpoint consists of: those parts that all have, and those that one of weights alone lacks.
PARTS: dict[str, type] = {"state_dict": dict, "hyper_parameters": dict, "loops": dict, "epoch": int, "global_step": int}
FURTHER: dict[str, type] = {"callbacks": dict, "optimizer_states": list, "lr_schedulers": list}


def checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a checkpoint holds, tensors and plain values, but for the checksum in it."""
    digest = hashlib.sha256()
    for name, leaf in _leaves({key: value for key, value in content.items() if key != CHECKSUM}):
        digest.update(name.encode())
        if isinstance(leaf, Tensor):
            digest.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
            digest.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(f"{leaf!r},".encode())
    return digest.hexdigest()


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested dicts and lists, each with the keys that lead to it; for a branch, how many it has."""
    if isinstance(tree, Mapping | list | tuple):
        yield name, len(tree)
        for key, below in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _leaves(below, f"{name}.{key}" if name else str(key))
    else:
        yield name, tree


def _nonfinite(tree: Any) -> str | None:
    """The name of the first tensor that has an infinite number, or what is none; None if there is none."""
    tensors = ((name, leaf) for name, leaf in _leaves(tree) if isinstance(leaf, Tensor))
    return next((name for name, tensor in tensors if not tensor.isfinite().all()), None)


def read(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint file holds, or an exported folder, which is one of weights alone, on the CPU.

    Raises:
        UserError: if it is missing, is none of this package, or was changed after it was saved.
        PermissionError: if it may not be read.
    """
    folder = Path(path).is_dir()
    if not (folder or Path(path).is_file()):
        raise UserError(f"{path}: there is no such checkpoint file")
    if Path(path).name == exported.WEIGHTS:
        raise UserError(f"{path} is a part of an exported model; give its folder, {Path(path).parent}")
    intact: bool | None
    try:
        if folder:
            saved, size, intact = exported.read(Path(path))
        else:
            size = _stored(Path(path))
            saved = _unpickled(path)
        _check_form(saved, size)
        if not folder:
            intact = saved[CHECKSUM] == checksum(saved) if CHECKSUM in saved else None
    except PermissionError:  # which names the file
        raise
    except Exception as error:  # a file that is no checkpoint can fail in any way
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        what = "an exported vae_zoo model" if folder else "a checkpoint of a vae_zoo model"
        raise UserError(f"{path} is not {what}: {reason}") from error
    if intact is None:
        warnings.warn(f"{path} has no checksum, so nobody can tell whether it is as it was saved", stacklevel=2)
    elif not intact:
        what = "exported model" if folder else "checkpoint"
        raise UserError(f"{path} is damaged: it does not hold what was saved; use another {what}, or remove it")
    return saved


def _unpickled(path: str | Path) -> Any:
    """What a file holds, if these are tensors and plain values alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the kind of pickle is nobody's concern
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # whose words advise to execute what the file says
        raise ValueError("it is cut off, or more than tensors and plain values that PyTorch saved") from error


def _stored(path: Path) -> int:
    """The bytes of a file, none of whose parts is compressed: a small one could unpack to more than fits in memory."""
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as members:
            kinds = {member.compress_type for member in members.infolist()}
            unpacked = sum(member.file_size for member in members.infolist())
        if kinds - {zipfile.ZIP_STORED} or unpacked > size:
            raise ValueError("its parts are compressed, or overlap")
    return size


def _check_form(saved: Any, size: int) -> None:
    """Raise a ValueError if this is not what a checkpoint of so many bytes holds."""
    if not isinstance(saved, dict):
        raise ValueError("it holds no parts")
    left = MORE * size + 2**24
    for name, leaf in _leaves(saved):
        if isinstance(leaf, Tensor) and leaf.layout != torch.strided:
            raise ValueError(f"{name} is no tensor of a kind that models have")
        if isinstance(leaf, Tensor) and leaf.numel() * leaf.element_size() > leaf.untyped_storage().nbytes():
            raise ValueError(f"it has a tensor {tuple(leaf.shape)} that is larger than what is stored of it")
        left -= len(name) + (leaf.nbytes if isinstance(leaf, Tensor) else len(leaf) if isinstance(leaf, str) else 8)
        if left < 0:
            raise ValueError("it names the same values too often")
    given = saved.get("hyper_parameters")
    if isinstance(given, dict):
        given = {name: value for name, value in given.items() if not are_texts(value)}
    for tree, most in ((saved, LARGEST), (given, LONGEST)):
        if next(islice(_leaves(tree), most, None), None):
            raise ValueError(f"it has more than {most} values")
    for name, kind in (PARTS | {name: kind for name, kind in FURTHER.items() if name in saved}).items():
        if not isinstance(saved.get(name), kind):
            raise ValueError(f"it has no {name}, a {kind.__name__}")
    for name, value in saved["state_dict"].items():
        if not isinstance(value, Tensor) or value.is_complex() or (value.is_floating_point() and value.itemsize < 2):
            raise ValueError(f"its weight {name} is no tensor of a kind that models have")
        if value.device.type != "cpu" or value.is_quantized or value.is_nested:
            raise ValueError(f"its weight {name} is no tensor of a kind that models have")
    for name, state in saved.get("callbacks", {}).items():
        if not isinstance(state, dict):
            raise ValueError(f"the state of the callback {name} is {state!r}")
    if not (0 <= saved["epoch"] < 2**31 and 0 <= saved["global_step"] < 2**62):
        raise ValueError(f"it is of epoch {saved['epoch']} and step {saved['global_step']}")
    for name, leaf in _leaves(saved["loops"]):
        if isinstance(leaf, int) and not 0 <= leaf < 2**62:
            raise ValueError(f"its record of the training has {name} {leaf}")
    if not isinstance(saved["hyper_parameters"].get("_class_path"), str):
        raise ValueError("it does not say of which class it is")


def changed(saved: Mapping[str, Any], weights: Mapping[str, Tensor], **hyperparameters: Any) -> dict[str, Any]:
    """Return a checkpoint with other weights and hyper-parameters, by which no training goes on."""
    found = {key: value for key, value in saved.items() if key not in ("optimizer_states", "lr_schedulers", CHECKSUM)}
    found["state_dict"] = dict(weights)
    found["hyper_parameters"] = {**saved["hyper_parameters"], **hyperparameters}
    return {**found, CHECKSUM: checksum(found)}


def refuse_nonfinite(path: str | Path, saved: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that has weights which are no finite numbers.

    Raises:
        UserError: naming the first of them.
    """
    if name := _nonfinite(saved["state_dict"]):
        raise UserError(
            f"{path}: {name} is not finite, so the training diverged; to use it all the same, say "
            "--allow_nonfinite, in Python allow_nonfinite=True"
        )


@contextmanager
def no_larger_than(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Refuse to construct a model with more weights than these, as soon as it has them.

    Raises:
        ValueError: if it has more, so that a small file cannot fill the memory.
    """
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in weights.values()}
    left = sum(storages.values()) // min((tensor.itemsize for tensor in weights.values()), default=1)
    thread, seen = threading.get_ident(), set[int]()
    tensors = 2 * len(weights) + 100

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal left, tensors
        if threading.get_ident() == thread and not nn.parameter.is_lazy(parameter) and id(parameter) not in seen:
            seen.add(id(parameter))
            left, tensors = left - parameter.numel(), tensors - 1
            if left < 0 or tensors < 0:
                raise ValueError(f"it describes a larger model than the one whose weights it has, see {name}")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def load(
    path: str | Path,
    base: type[M],
    *,
    trust: Sequence[str] = (),
    allow_nonfinite: bool = False,
    map_location: Any = "cpu",
    **changes: Any,
) -> M:
    """Build the model that a checkpoint or an exported folder describes, with its weights.

    Nothing is imported, and nothing is called but classes that `vae_zoo.trust` lists, unless it is trusted.

    Args:
        path: the file, or the folder.
        base: the class that the model must be of; this class itself is trusted.
        trust: modules whose classes the file may name, and all below them.
        allow_nonfinite: whether weights may be infinite or not a number.
        map_location: the device.
        changes: hyper-parameters that replace the file's.

    Raises:
        UserError: if `read` refuses the file, it names anything else, or does not fit its model.
    """
    saved = read(path)
    if not allow_nonfinite:
        refuse_nonfinite(path, saved)
    given = dict(saved["hyper_parameters"])
    given.pop("_instantiator", None)
    class_path = given.pop("_class_path")
    cls: Any = base
    if class_path != f"{base.__module__}.{base.__qualname__}":
        cls = resolve(class_path, str(path), trust)
    refuse_arguments(cls, given, str(path), trust)
    takes = {parameter.name for parameter in parameters_of(cls)}
    for name in sorted(takes - given.keys() - changes.keys()):
        warnings.warn(f"{path} does not say {name}, so {cls.__name__}'s default is taken", stacklevel=2)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UserError(f"{path} is of a {class_path}, which is no {base.__name__}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "model", fail_untyped=False)
    try:
        with no_larger_than(saved["state_dict"]):
            model = parser.instantiate(parser.parse_object({"model": given | changes})).model
        model.load_state_dict(saved["state_dict"])
    except Exception as error:  # wrong values can fail in any way
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not fit {cls.__name__}: {reason}") from error
    return model.to(map_location)


class CheckpointedModule(LightningModule):
    """A LightningModule whose checkpoints hold plain values with a checksum, and load without executing anything."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the hyper-parameters as plain values, so that the file loads under ``weights_only=True``.

        Raises:
            UserError: if an argument of the model is an object that plain values cannot describe, or a weight or the
                state of an optimizer is not finite, so that what was saved before stays.
        """
        parts = {"state_dict": checkpoint["state_dict"], "optimizer_states": checkpoint.get("optimizer_states", [])}
        if name := _nonfinite(parts):
            raise UserError(f"{type(self).__name__} is not saved: {name} is not finite; try a smaller learning rate")
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = self.described()
        checkpoint[CHECKSUM] = checksum(checkpoint)

    def described(self) -> dict[str, Any]:
        """Return the hyper-parameters as plain values, and beside them as ``_class_path`` the class.

        Raises:
            UserError: if one is an object that plain values cannot describe.
        """
        given = {**self.hparams_initial, **self.hparams}  # Lightning drops what cannot be pickled from the latter
        described = {name: plain(name, value) for name, value in given.items() if name != "_instantiator"}
        return {"_class_path": f"{type(self).__module__}.{type(self).__qualname__}", **described}

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # no other file can describe the model
        cls,
        checkpoint_path: str | Path,
        map_location: Any = "cpu",
        *,
        trust: Sequence[str] = (),
        allow_nonfinite: bool = False,
        weights_only: bool | None = True,
        **changes: Any,
    ) -> Self:
        """Load a checkpoint of this class, or of one derived from it, as `vae_zoo.load` does.

        Args:
            checkpoint_path: the file.
            map_location: the device.
            trust: see `vae_zoo.load`.
            allow_nonfinite: likewise.
            weights_only: nothing else is possible.
            changes: hyper-parameters that replace the file's.

        Raises:
            UserError: as there.
        """
        if weights_only is False:
            raise UserError("weights_only=False would execute what the file says; leave it out")
        options: Any = {"trust": trust, "allow_nonfinite": allow_nonfinite, "map_location": map_location}
        return load(checkpoint_path, cls, **options, **changes)
