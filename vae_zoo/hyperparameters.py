"""A model's hyper-parameters as plain values, as a yaml writes them, so that checkpoints load safely."""

import functools
from collections.abc import Mapping
from typing import Any

from vae_zoo.errors import UserError


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
