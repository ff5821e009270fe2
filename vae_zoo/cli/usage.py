"""Say what is wrong with a command line or a yaml in one sentence, and name the nearest right key."""

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml


def explain(message: str, arguments: Sequence[str], sections: dict[str, type], scalars: Iterable[str]) -> str:
    """Explain jsonargparse's complaint.

    Args:
        message: the complaint.
        arguments: of the command line.
        sections: by key, the class whose arguments stand below it; an abstract class means one of its subclasses.
        scalars: the other keys.
    """
    sources = list(_given(arguments))
    chosen = dict(sections)
    for _, config in sources:
        for key, base in sections.items():
            chosen[key] = _find(_class_name(config.get(key)), base) or chosen[key]
    for source, config in sources:
        for problem in _problems(config, chosen, scalars):
            return f"{source}: {problem}"
    inner = re.search(
        r"Problem with given class_path '[\w.]+':(.*?)(- Expected a <class 'NoneType'>|\Z)", message, re.S
    )
    return " ".join((inner[1] if inner else message).split())


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each configuration file and each option, as (where it stands, nested dict)."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        value = value if equals else following
        if name in ("--config", "-c"):
            try:
                config = yaml.safe_load(Path(value).read_text())
            except (OSError, ValueError, yaml.YAMLError):
                continue  # then the complaint itself says so
            if isinstance(config, dict):
                yield value, config
        elif name.startswith("--"):
            nested: Any = value
            for key in reversed(name[2:].split(".")):
                nested = {key: nested}
            yield name, nested


def _problems(config: dict[str, Any], classes: dict[str, type], scalars: Iterable[str]) -> Iterator[str]:
    for key, value in config.items():
        if key not in {*classes, *scalars}:
            yield _unknown(key, {*classes, *scalars})
        elif key in classes:
            yield from _check(key, value, classes[key])


def _check(path: str, value: Any, class_: type) -> Iterator[str]:
    """Check what is given for one class: its name, the keys below it, and the classes given for those."""
    name = _class_name(value)
    if name and _find(name, class_) is None and _subclasses(class_):
        names = {c.__name__ for c in _subclasses(class_) if not inspect.isabstract(c)}
        yield f"{path}: there is no {name!r}{_nearest(name, names)}"
        return
    class_ = _find(name, class_) or class_ if name else class_
    if not isinstance(value, dict) or inspect.isabstract(class_):
        return
    given = value.get("init_args") or {k: v for k, v in value.items() if k not in ("class_path", "init_args")}
    parameters = inspect.signature(class_).parameters
    for key, below in given.items():
        if key not in parameters:
            yield _unknown(f"{path}.{key}", {f"{path}.{name}" for name in parameters})
        elif isinstance(below, (dict, str)):
            default = parameters[key].default
            hint = get_args(
                get_type_hints(vars(class_)["__init__"]).get(key)
            )  # a factory's last argument is what it makes
            base = hint[-1] if hint and _class_name(below) else default
            if isinstance(base, type):
                yield from _check(f"{path}.{key}", below, base)


def _unknown(key: str, known: set[str]) -> str:
    return f"there is no key {key!r}{_nearest(key, known)}"


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}"


def _class_name(value: Any) -> str | None:
    return value.get("class_path") if isinstance(value, dict) else value if isinstance(value, str) else None


def _subclasses(class_: type) -> list[type]:
    children: list[type] = class_.__subclasses__()
    return children + [c for child in children for c in _subclasses(child)]


def _find(name: str | None, base: type) -> type | None:
    return next((c for c in _subclasses(base) if name in (c.__name__, f"{c.__module__}.{c.__qualname__}")), None)
