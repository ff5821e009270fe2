"""Settings as trees of plain values, and whether two trainings were made under identical conditions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from vae_zoo.errors import UserError

Config = dict[str, Any]

SHARED = ("latent", "encoder", "decoder", "likelihood", "lr")  # the arguments of a model that identical conditions fix
IMMATERIAL = {
    *("data.cache_dir", "data.workers", "data.resident"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.logger", "trainer.default_root_dir"),
}


def read(path: Path) -> Config:
    """Read a yaml file.

    Raises:
        UserError: if there is no such file, or it holds no settings.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"there is no configuration file {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a configuration file: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a configuration file: it holds no settings")
    return config


def override(config: Config, option: str) -> None:
    """Change settings as the command line does, ``--data.root=x`` standing for ``data: {init_args: {root: x}}``."""
    name, _, text = option.removeprefix("--").partition("=")
    *path, last = name.split(".")
    node = config
    for key in path:
        node = _inside(node, key)
        if not isinstance(node.get(key), dict):
            node[key] = {"class_path": node[key]} if node.get(key) else {}
        node = node[key]
    node, value = _inside(node, last), _value(text)
    if last == "class_path" and class_name(node) != class_name(value):
        node.pop("init_args", None)  # those of the other class
    is_class = isinstance(node.get(last), dict) and isinstance(value, str)
    if not (is_class and class_name(node[last]) == class_name(value)):  # a class that is there keeps its arguments
        node[last] = {"class_path": value} if is_class else value


def _inside(node: Config, key: str) -> Config:
    return node.setdefault("init_args", {}) if "class_path" in node and key not in ("class_path", "init_args") else node


def _value(text: str) -> Any:
    """A number, list ... as yaml has it; a text as it is, with whatever would be a comment in yaml."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(value, str) else value


def class_name(value: Any) -> str | None:
    """``Gaussian`` for what stands in a yaml for a class: its name, its path, or a dict with its class_path."""
    path = value.get("class_path") if isinstance(value, dict) else value
    return path.rpartition(".")[2] if isinstance(path, str) else None


def arguments(config: Config, section: str) -> Config:
    """Return the arguments of the class in a section."""
    return (config.get(section) or {}).get("init_args") or {}


def conditions(config: Config, whole: bool = False) -> Config:
    """Return what must be equal in two trainings for their models to be compared, as far as it is said, by option.

    Seed, epochs and pictures are not among it.

    Args:
        config: the settings of a training.
        whole: whether all arguments of the model are, as in two trainings of one model.
    """
    model, trainer = arguments(config, "model"), dict(config.get("trainer") or {})
    trainer.pop("max_epochs", None)
    found = {f"model.{name}": model[name] for name in (model if whole else SHARED) if name in model}
    found |= {f"data.{name}": value for name, value in arguments(config, "data").items()}
    found |= {f"trainer.{name}": value for name, value in trainer.items()}
    found |= {f"evaluation.{name}": value for name, value in (config.get("evaluation") or {}).items()}
    found |= {"data": class_name(config.get("data")), "compile": config.get("compile", False)}
    return {name: value for name, value in found.items() if name not in IMMATERIAL}


def differences(ours: Config, theirs: Config, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (option, ours, theirs) where two trees that both say something say different things."""
    for key in sorted(ours.keys() & theirs.keys()):
        ours_, theirs_, name = ours[key], theirs[key], f"{path}.{key}" if path else key
        if isinstance(ours_, dict) and isinstance(theirs_, dict):
            yield from differences(ours_, theirs_, name)
        elif not _same(ours_, theirs_, key == "class_path"):
            yield name, ours_, theirs_


def _same(ours: Any, theirs: Any, named: bool) -> bool:
    if isinstance(ours, dict) or isinstance(theirs, dict) or named:  # a class by its name alone, or with arguments
        return class_name(ours) == class_name(theirs)
    try:
        return ours == theirs or float(ours) == float(theirs)  # yaml reads 1e-3 as a text
    except (TypeError, ValueError):
        return False
