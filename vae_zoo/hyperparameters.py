"""A model's hyper-parameters as plain values, as a yaml writes them, so that checkpoints load safely."""

import functools
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vae_zoo.errors import UserError


def check_kinds(constructor: Callable[..., None], values: Mapping[str, Any]) -> None:
    """Raise a UserError that names the first of these arguments that is not of the kind that a constructor declares.

    Looked at are factories, true or false, and one of several words; numbers the constructors look at, for their range.

    Args:
        constructor: whose annotations say what is of what kind.
        values: by the name of the argument.
    """
    try:
        declared = get_type_hints(constructor)
    except NameError:  # a user's annotation that is resolved nowhere
        return
    for name in declared.keys() & values.keys():
        value, annotation = values[name], declared[name]
        kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        factory = any(get_origin(kind) is Callable for kind in kinds)
        if factory and not (callable(value) or (value is None and NoneType in kinds)):
            raise UserError(f"{name} must be a class, or functools.partial(Class, name=value), got {value!r}")
        if annotation is bool and not isinstance(value, bool):
            raise UserError(f"{name} must be True or False, got {value!r}")
        if get_origin(annotation) is Literal and value not in get_args(annotation):
            raise UserError(f"{name} must be one of {', '.join(map(str, get_args(annotation)))}, got {value!r}")


def plain(name: str, value: Any) -> Any:
    """Describe a hyper-parameter by plain values, a factory as the command line does: class_path and init_args.

    Args:
        name: of the argument, for the error.
        value: a number, a text, a list or mapping of them, a class, or a ``functools.partial`` of one.

    Raises:
        UserError: if plain values cannot describe it.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(plain(name, item) for item in value)
    if isinstance(value, Mapping):
        return {key: plain(name, item) for key, item in value.items()}
    if isinstance(value, type):
        return {"class_path": f"{value.__module__}.{value.__qualname__}"}
    if isinstance(value, functools.partial):
        if value.func.__module__.partition(".")[0] == "jsonargparse":  # of a loaded checkpoint: its own, then the class
            value = functools.partial(value.args[-1], **value.keywords)
        if isinstance(value.func, type) and not value.args:
            return plain(name, value.func) | {"init_args": plain(name, value.keywords)}
    raise UserError(
        f"argument {name!r} is {value!r}, which a checkpoint cannot hold; give a class, or "
        "functools.partial(Class, name=value)"
    )
