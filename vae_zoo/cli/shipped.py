"""The yamls that come with the package, by their names: ``vae``, ``paper/iwae_mnist``, ``compare/small``."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import vae_zoo
from vae_zoo.cli import UsageError
from vae_zoo.settings import nearest

CONFIGS = Path(vae_zoo.__file__).parent / "configs"


def shipped() -> list[str]:
    """Return the names of the yamls that come with the package."""
    return sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))


def find_config(given: str | Path) -> Path:
    """Turn a path, or the name of a yaml that comes with the package, into a path: ``vae``, ``configs/vae.yaml``.

    A name without an ending is first that of one which comes with the package; ``./vae`` is a file.

    Raises:
        UsageError: if there is neither.
    """
    path = Path(given).expanduser()
    name = path.relative_to("configs") if path.is_relative_to("configs") else path
    named = name.name and name.suffix in ("", ".yaml") and not name.is_absolute()
    own = CONFIGS / name.with_suffix(".yaml") if named else CONFIGS
    # A file that is called vae, and may have come with somebody's data, is not what `--config vae` means.
    bare = not path.suffix and not str(given).startswith((".", "~", "/"))
    if path.is_file() and not (bare and own.is_file()):
        return path
    if own.is_file():
        return own
    raise UsageError(
        f"there is no configuration file {given}, nor one that comes with vae_zoo{nearest(str(given), shipped())}"
    )


def find_configs(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command line, with a path for what each ``--config`` gives, as ``--config=PATH``."""
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-c"):  # of one letter, whose value may follow at once
            name, equals, value = "--config", word[2:], word[2:].removeprefix("=")
        if name == "--config" and (equals or (value := next(words, ""))):
            word = f"--config={find_config(value)}"
        yield word
