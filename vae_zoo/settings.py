"""Settings as trees of plain values: read, compared, and explained where they are wrong."""

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from jsonargparse._parameter_resolvers import get_signature_parameters  # what the parser itself goes by; not public

from vae_zoo.errors import UserError
from vae_zoo.reading import read_file
from vae_zoo.yamls import KINDS, load

Config = dict[str, Any]
NO_YAML = (yaml.YAMLError, ValueError, ArithmeticError, AttributeError)  # a date without a day, bytes that are no text

# The arguments of a model that identical conditions fix; a prior is a part of the model.
SHARED = ("latent", "encoder", "decoder", "likelihood", "lr", "optimizer", "lr_scheduler", "lr_interval")
IMMATERIAL = {
    *("data.cache_dir", "data.cache_gb", "data.workers", "data.resident"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.logger", "trainer.default_root_dir"),
}
# May move: whether the data are the same, their hash tells.
FILES = ("data.root", "data.path", "data.annotations", "data.test_annotations", "data.image_dir", "data.captions")
# Callbacks that write pictures alone; by name, since nothing is imported because a run's settings name it.
DRAWING = {"SampleImages", "LabelGrid", "Drawings"}
LARGEST = 2**18  # bytes of a yaml, which takes seconds to read at that size
SECTIONS = {"model", "data", "trainer", "images", "evaluation"}  # of a yaml, each a mapping


def read(path: Path) -> Config:
    """Read a yaml file.

    Raises:
        UserError: if there is no such file, or it holds no settings.
    """
    try:
        config = load(read_file(path, LARGEST).decode(), str(path))
    except FileNotFoundError:
        raise UserError(f"there is no configuration file {path}") from None
    except OSError as error:
        raise UserError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    except UserError:
        raise
    except NO_YAML as error:
        raise UserError(f"{path} is not a configuration file: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a configuration file: it holds no settings")
    for section in SECTIONS & config.keys():
        value = config[section]
        if section in ("model", "data") and (value is None or isinstance(value, str)):  # as --print_config writes them
            continue
        if value is None:
            raise UserError(f"{path}: {section} has no value; leave it out")
        if not isinstance(value, dict):
            raise UserError(f"{path}: {section} must have settings below it, got {value!r}")
    return config


def parameters_of(made: Callable[..., Any]) -> list[Any]:
    """Return the parameters of a class or a function, each with its name, annotation and default."""
    return get_signature_parameters(made)


def class_name(value: Any) -> str | None:
    """``Gaussian`` for what stands in a yaml for a class: its name, its path, or a dict with its class_path."""
    path = _class_path(value)
    return path.rpartition(".")[2] if path else None


def arguments(config: Config, section: str) -> Config:
    """Return the arguments of the class in a section."""
    return (config.get(section) or {}).get("init_args") or {}


def conditions(config: Config, whole: bool = False, likelihood: bool = True) -> Config:
    """Return what must be equal in two trainings for their models to be compared, as far as it is said, by option.

    Seed, epochs and pictures are not among it.

    Args:
        config: the settings of a training.
        whole: whether all arguments of the model are, as in two trainings of one model.
        likelihood: whether the likelihood is, as in one setting of a comparison.
    """
    model, trainer = arguments(config, "model"), dict(config.get("trainer") or {})
    trainer.pop("max_epochs", None)
    if isinstance(callbacks := trainer.get("callbacks"), list):
        trainer["callbacks"] = [each for each in callbacks if class_name(each) not in DRAWING] or None
    if not likelihood:
        model = {name: value for name, value in model.items() if name != "likelihood"}
    found = {f"model.{name}": model[name] for name in (model if whole else SHARED) if name in model}
    found |= {f"data.{name}": value for name, value in arguments(config, "data").items()}
    found |= {f"trainer.{name}": value for name, value in trainer.items()}
    found |= {f"evaluation.{name}": value for name, value in (config.get("evaluation") or {}).items()}
    found |= {"data": class_name(config.get("data")), "compile": config.get("compile", False)}
    return {name: value for name, value in found.items() if name not in IMMATERIAL}


def differences(ours: dict[Any, Any], theirs: dict[Any, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (option, ours, theirs) where two trees that both say something say different things."""
    for key in sorted(ours.keys() & theirs.keys()):
        ours_, theirs_, name = ours[key], theirs[key], f"{path}.{key}" if path else key
        if isinstance(ours_, list) and isinstance(theirs_, list) and len(ours_) == len(theirs_):
            ours_, theirs_ = dict(enumerate(ours_)), dict(enumerate(theirs_))
        if isinstance(ours_, dict) and isinstance(theirs_, dict):
            yield from differences(ours_, theirs_, name)
        elif not _same(ours_, theirs_, key == "class_path"):
            yield name, ours_, theirs_


def _same(ours: Any, theirs: Any, named: bool) -> bool:
    if isinstance(ours, dict) or isinstance(theirs, dict) or named:  # a class by its name alone, or with arguments
        return class_name(ours) == class_name(theirs)
    try:
        return ours == theirs or float(ours) == float(theirs)  # yaml reads 1e-3 as a string
    except (TypeError, ValueError):
        return False


def explain(message: str, arguments: Sequence[str], sections: dict[str, type], scalars: Iterable[str]) -> str:
    """Say in one sentence what jsonargparse found wrong with a command line, and name the nearest right key.

    Args:
        message: jsonargparse's own.
        arguments: of the command line.
        sections: by key, the class whose arguments stand below it; an abstract class means one of its subclasses.
        scalars: the other keys.
    """
    try:
        sources = list(given(arguments))
    except UserError as error:
        return str(error)
    chosen = dict(sections)
    for _, config in sources:
        for key, base in sections.items():
            chosen[key] = _find(_class_path(config.get(key)), base) or chosen[key]
    for i, (source, config) in enumerate(sources):
        for key, value in config.items():
            if key in sections:
                problems = _problems(key, value, sections[key], chosen[key], [said for _, said in sources[i::-1]])
            else:
                problems = iter([] if key in scalars else [_unknown(key, {*sections, *scalars})])
            for problem in problems:
                return problem if source.startswith("--") else f"{source}: {problem}"
    *_, key, wrong = keys = ["", "", *re.split(r'Parser key "([\w.]+)":', " ".join(message.split()))]
    typed = (argument.split("=")[0].removeprefix("--") for argument in arguments)
    key = next((name for name in typed if f".{name}".endswith(f".{key}")), ".".join(keys[3::2]))
    kinds = [KINDS[kind] for kind in re.findall(r"Expected a <class '(\w+)'>", wrong) if kind in KINDS]
    kinds += [f"one of {names}" for names in re.findall(r"Expected a typing.Literal\[(.*?)\]", wrong)]
    value = re.search(r"Got value: (.{1,40}?)(?= - | Subclass |$)", wrong)
    if key and kinds:
        return f"{key}: {f'{value[1]} is not' if value else 'it must be'} {' or '.join(dict.fromkeys(kinds))}"
    inner = re.search(
        r"Problem with given class_path '[\w.]+':(.*?)(- Expected a <class 'NoneType'>|\Z)", message, re.S
    )
    if key and not inner:
        return f"{key}: {value[1] if value else 'what is given'} cannot be used there; vae-zoo fit --help tells more"
    text = re.sub(r"(Subtypes|Given value|Given value type): .*", "", inner[1] if inner else message)
    return f"the settings are not understood: {' '.join(text.split())[:500]}"


def join_numbers(words: Iterable[str]) -> Iterator[str]:
    """Yield ``--data.image_size 48 96`` as ``--data.image_size [48,96]``, which is how jsonargparse reads a list."""
    for is_number, run in groupby(words, str.isdecimal):
        numbers = list(run)
        yield from [f"[{','.join(numbers)}]"] if is_number and len(numbers) > 1 else numbers


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the known one nearest to it, or all."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}"


def given(arguments: Sequence[str]) -> Iterator[tuple[str, Config]]:
    """Yield each configuration file and each option of a command line, as (where it stands, nested dict).

    Raises:
        UserError: if one is no yaml that can be used, see `load`.
    """
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        value = value if equals else following
        if name in ("--config", "-c") and value:
            yield value, read(Path(value))
        elif name.startswith("--"):
            nested: Any = value
            try:
                loaded = load(value, name)
                nested = loaded if loaded is None or isinstance(loaded, dict | list) else value
            except UserError:
                raise
            except NO_YAML:  # a text, as far as is known
                pass
            for key in reversed(name[2:].removesuffix("+").split(".")):  # a + puts it at a list's end
                nested = {key: nested}
            yield name, nested


def _problems(path: str, value: Any, base: type, default: type, configs: list[Config]) -> Iterator[str]:
    """What is wrong with what is given for one object: the name of its class, or a key below it.

    Args:
        path: the key of the object.
        value: what is given: the name of a class, or a dict of arguments, with or without such a name.
        base: the class that the object must be of.
        default: its class where none is named.
        configs: what the command line says up to there, the last first: a class that it names is the one meant.
    """
    name = _class_path(value)
    named = (_find(_class_path(_at(path, config)), base) for config in configs)
    class_ = _find(name, base) if name else next(filter(None, named), default)
    if class_ is None:
        why = _not_importable(name or "", base)
        yield f"{path}: {why or f'there is no {name!r}' + nearest(name or '', {c.__name__ for c in _concrete(base)})}"
        return
    if not isinstance(value, dict):
        return
    parameters = {parameter.name: parameter for parameter in parameters_of(class_)}
    given = value.get("init_args") or value
    for key, below in given.items() if isinstance(given, dict) else ():
        if key == "help":  # of the class that it names
            yield from _problems(path, below, base, default, [])
        elif key not in {*parameters, "class_path", "init_args"}:
            yield _unknown(f"{path}.{key}", {f"{path}.{name}" for name in {*parameters, "init_args"}})
        elif key in parameters and (made := _made_by(parameters[key].annotation)):
            standard = parameters[key].default if isinstance(parameters[key].default, type) else made
            for each in below if isinstance(below, list) else [below]:
                yield from _problems(f"{path}.{key}", each, made, standard, configs)


def _at(path: str, value: Any) -> Any:
    """What stands at a key, with or without ``init_args`` on the way, of a list the last; None if nothing does."""
    for key in path.split("."):
        given = value.get("init_args") or value if isinstance(value, dict) else None
        value = given.get(key) if isinstance(given, dict) else None
        value = value[-1] if isinstance(value, list) and value else value
    return value


def _not_importable(path: str, base: type) -> str | None:
    """Why a class path that jsonargparse has tried is none of the base's; None if it is no path."""
    module, _, name = path.rpartition(".")
    if not module:
        return None
    try:
        found = vars(importlib.import_module(module)).get(name)
    except Exception as error:  # a user's module can raise anything
        return f"{path} cannot be imported: {type(error).__name__}: {error}"
    if found is None:
        return f"{module} has no {name}{nearest(name, [c for c in vars(sys.modules[module]) if c[:1].isupper()])}"
    return f"{path} is not a {base.__module__}.{base.__name__}; derive it from that"


def _made_by(annotation: Any) -> type | None:
    """The class of what a parameter that is a factory makes, or has a list of; None for any other parameter."""
    for kind in (annotation, *get_args(annotation)):  # a factory, or a factory or None
        made = get_args(kind)[-1] if get_origin(kind) in (Callable, list) else Any
        if made is not Any and isinstance(made, type) and made.__module__ != "builtins":
            return made
    return None


def _unknown(key: str, known: set[str]) -> str:
    return f"there is no key {key!r}{nearest(key, known)}"


def _class_path(value: Any) -> str | None:
    path = value.get("class_path") if isinstance(value, dict) else value
    return path if isinstance(path, str) else None


def _concrete(base: type) -> list[type]:
    """The class and those below it that can be constructed."""
    children: list[type] = base.__subclasses__()
    return [c for c in [base, *(c for child in children for c in _concrete(child))] if not inspect.isabstract(c)]


def _find(path: str | None, base: type) -> type | None:
    module, _, name = (path or "").rpartition(".")
    # A saved config names the package that exports a class, which need not be the module that defines it.
    return next((c for c in _concrete(base) if c.__name__ == name and f"{c.__module__}.".startswith(module)), None)
