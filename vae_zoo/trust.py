"""What a file that was merely found may name: classes of this package and of two others. All else needs a user's word.

A checkpoint, and the config.yaml beside it, describe objects by class paths. Whoever makes such a file chooses what is
imported and called, so each path is held against a list before anything is imported.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from numbers import Number
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from lightning.pytorch import LightningDataModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vae_zoo.errors import UserError
from vae_zoo.settings import parameters_of

# By package, the kinds of its classes that a file may name. To construct one reads no more than what data are.
KINDS: dict[str, tuple[type, ...]] = {
    "vae_zoo": (nn.Module, LightningDataModule, Optimizer, LRScheduler),
    "torch.optim": (Optimizer, LRScheduler),
    "torchvision.transforms.v2": (nn.Module,),
}
LONGEST = 300
MOST_TEXTS = 200_000  # COCO has 118,287 pictures to train on; jsonargparse takes seconds for as many texts
PLAIN = (str, bytes, Number, NoneType, Path, Enum, Sequence, Mapping, set, frozenset)


def refuse_untrusted(value: Any, annotation: Any, where: str, trust: Sequence[str] = ()) -> None:
    """Refuse plain values that name something that is neither on the list nor trusted.

    Args:
        value: numbers, texts, lists and dicts, as jsonargparse makes an object of them.
        annotation: the type of the argument that they are for: a text is a class's path where a class or a function is
            asked for, and elsewhere a text.
        where: the file and the key, for the error.
        trust: modules, all below which is trusted.

    Raises:
        UserError: that says what is named where, and how to trust it.
    """
    if isinstance(value, str) and _takes_code(annotation):
        resolve(value, where, trust)
    elif isinstance(value, list | tuple):
        # Of a list, but not of a tuple, jsonargparse copies all for each of its items.
        most = MOST_TEXTS if annotation == tuple[str, ...] and are_texts(value) else LONGEST
        if len(value) > most:
            raise UserError(f"{where} has {len(value)} values; in a file that was only found, {most} are allowed")
        for item in value:
            refuse_untrusted(item, annotation, where, trust)
    elif isinstance(value, Mapping):
        if "class_path" not in value:
            for key, item in value.items():
                if "." in str(key):
                    raise UserError(f"{where} has the key {key!r}, which no file that was only found may have")
                refuse_untrusted(item, annotation, f"{where}.{key}", trust)
            return
        for key in value.keys() - {"class_path", "init_args"}:
            raise UserError(f"{where} has the key {key!r} beside class_path and init_args")
        refuse_arguments(resolve(value["class_path"], where, trust), value.get("init_args") or {}, where, trust)


def refuse_arguments(made: Any, arguments: Any, where: str, trust: Sequence[str] = ()) -> None:
    """Refuse arguments of a class that name something that is neither on the list nor trusted.

    Args:
        made: the class, or the function, that is called with them.
        arguments: by name, plain values.
        where: the file and the key, for the error.
        trust: modules, all below which is trusted.
    """
    if not isinstance(arguments, Mapping):
        raise UserError(f"{where}: the arguments must be a mapping, got {arguments!r}")
    annotations = {parameter.name: parameter.annotation for parameter in parameters_of(made)}
    for name, value in arguments.items():
        if name not in annotations:  # jsonargparse takes "encoder.class_path" for what is below encoder
            raise UserError(f"{where} has an argument {name!r}, which {made.__name__} does not have")
        refuse_untrusted(value, annotations[name], f"{where}.{name}", trust)


def are_texts(value: Any) -> bool:
    """Whether a value is a list of nothing but texts, as a model's captions are."""
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def is_trusted(path: str, trust: Sequence[str]) -> bool:
    """Whether a class path is of one of these modules."""
    return any(f"{path}.".startswith(f"{module}.") for module in trust)


def resolve(path: Any, where: str, trust: Sequence[str]) -> Any:
    """Return the class that a path names. Nothing is imported but what is trusted.

    Args:
        path: ``module.Class``.
        where: the file and the key, for the error.
        trust: modules, all below which is trusted.

    Raises:
        UserError: if the class is neither on the list nor trusted, or there is none.
    """
    if not isinstance(path, str):
        raise UserError(f"{where}: a class_path must be a text, got {path!r}")
    module, _, name = path.rpartition(".")
    if module and is_trusted(path, trust):
        try:
            return getattr(importlib.import_module(module), name)
        except Exception as error:  # a user's module can raise anything
            raise UserError(f"{where}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    found = vars(sys.modules.get(module, object)).get(name)
    for package, kinds in KINDS.items():
        if isinstance(found, type) and issubclass(found, kinds):
            if all(f"{each}.".startswith(f"{package}.") for each in (module, found.__module__)):
                return found
    raise UserError(
        f"{where} names {path}, which a file that was only found may not load; if you trust it, say so for this once "
        f"with --trust {module or path}, in Python with trust=[{module or path!r}]"
    )


def foreign(tree: Any) -> set[str]:
    """Return the modules of classes in a tree of settings that need a user's word."""
    below = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    found = set().union(*map(foreign, below))
    path = tree.get("class_path") if isinstance(tree, dict) else None
    if isinstance(path, str) and "." in path and path.partition(".")[0] not in ("vae_zoo", "torch", "torchvision"):
        found.add(path.rpartition(".")[0])
    return found


def _takes_code(annotation: Any) -> bool:
    """Whether jsonargparse would import what a text names."""
    if annotation is Any or get_origin(annotation) is Literal:
        return False
    if get_origin(annotation) in (Callable, type):
        return True
    if inside := get_args(annotation):
        return any(map(_takes_code, inside))
    return not (isinstance(annotation, type) and issubclass(annotation, PLAIN)) and annotation is not ...
