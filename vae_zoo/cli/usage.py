"""Say what is wrong with a command line or a yaml in one sentence, and name the nearest right key."""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}


def explain(message: str, arguments: Sequence[str], sections: dict[str, type], scalars: Iterable[str]) -> str:
    """Explain jsonargparse's complaint.

    Args:
        message: the complaint.
        arguments: of the command line.
        sections: by key, the class whose arguments stand below it; an abstract class means one of its subclasses.
        scalars: the other keys.
    """
    try:
        sources = list(_given(arguments))
    except yaml.YAMLError as error:
        return f"{error.args[0]} is not a configuration file: {' '.join(str(error.__cause__).split())}"
    chosen = dict(sections)
    for _, config in sources:
        for key, base in sections.items():
            chosen[key] = _find(_class_name(config.get(key)), base) or chosen[key]
    for source, config in sources:
        for key, value in config.items():
            if key in sections:
                problems = _problems(key, value, sections[key], chosen[key])
            else:
                problems = iter([] if key in scalars else [_unknown(key, {*sections, *scalars})])
            for problem in problems:
                return problem if source.startswith("--") else f"{source}: {problem}"
    wrong = re.search(
        r'Parser key "([\w.]+)": Expected a <class \'(\w+)\'>. Got value: (\S+)', " ".join(message.split())
    )
    if wrong:
        key, kind, value = wrong.groups()
        typed = (argument.split("=")[0].removeprefix("--") for argument in arguments)
        key = next((name for name in typed if f".{name}".endswith(f".{key}")), key)
        return f"{key}: {value} is not {KINDS.get(kind, kind)}"
    inner = re.search(
        r"Problem with given class_path '[\w.]+':(.*?)(- Expected a <class 'NoneType'>|\Z)", message, re.S
    )
    text = re.sub(r"(Subtypes|Given value|Given value type): .*", "", inner[1] if inner else message)
    return " ".join(text.split())[:500]


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each configuration file and each option, as (where it stands, nested dict)."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        value = value if equals else following
        if name in ("--config", "-c"):
            try:
                config = yaml.safe_load(Path(value).read_text())
            except yaml.YAMLError as error:
                raise yaml.YAMLError(value) from error
            except (OSError, ValueError):
                continue  # then the complaint itself says so
            if not isinstance(config, dict):
                raise yaml.YAMLError(value) from ValueError("it holds no settings")
            yield value, config
        elif name.startswith("--"):
            nested: Any = value
            for key in reversed(name[2:].split(".")):
                nested = {key: nested}
            yield name, nested


def _problems(path: str, value: Any, base: type, default: type) -> Iterator[str]:
    """What is wrong with what is given for one object: the name of its class, or a key below it.

    Args:
        path: the key of the object.
        value: what is given: the name of a class, or a dict of arguments, with or without such a name.
        base: the class that the object must be of.
        default: its class where none is named.
    """
    name = _class_name(value)
    class_ = _find(name, base) if name else default
    if class_ is None:
        yield f"{path}: there is no {name!r}{nearest(name or '', {c.__name__ for c in _concrete(base)})}"
        return
    parameters = inspect.signature(class_).parameters
    if not isinstance(value, dict) or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key, below in (value.get("init_args") or value).items():
        if key not in {*parameters, "class_path", "init_args"}:
            yield _unknown(f"{path}.{key}", {f"{path}.{name}" for name in {*parameters, "init_args"}})
        elif key in parameters and (made := _made_by(class_, key)):
            yield from _problems(f"{path}.{key}", below, made, parameters[key].default)


def _made_by(class_: type, parameter: str) -> type | None:
    """What a parameter that is a factory makes; None for any other parameter."""
    hint = get_type_hints(vars(class_)["__init__"]).get(parameter)
    return get_args(hint)[-1] if get_origin(hint) is Callable else None


def _unknown(key: str, known: set[str]) -> str:
    return f"there is no key {key!r}{nearest(key, known)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a complaint about a name: the known one nearest to it, or all."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}"


def _class_name(value: Any) -> str | None:
    return value.get("class_path") if isinstance(value, dict) else value if isinstance(value, str) else None


def _concrete(base: type) -> list[type]:
    """The class and those below it that can be made."""
    children: list[type] = base.__subclasses__()
    return [c for c in [base, *(c for child in children for c in _concrete(child))] if not inspect.isabstract(c)]


def _find(name: str | None, base: type) -> type | None:
    module, _, short = (name or "").rpartition(".")
    # A saved config names the package that exports a class, which need not be the module that defines it.
    return next((c for c in _concrete(base) if c.__name__ == short and f"{c.__module__}.".startswith(module)), None)
