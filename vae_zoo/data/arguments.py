"""What a data module is given, checked once for all of them: from Python, nothing has looked at it before."""

from pathlib import Path
from typing import Any

from vae_zoo.errors import UserError


def is_text(value: Any) -> bool:
    """Whether this is a text that can be printed, such as a label's name."""
    return isinstance(value, str) and value != "" and value.isprintable()


def require_texts(**values: Any) -> None:
    """Raise a UserError that names the first of these that is neither None nor a list of texts."""
    for name, value in values.items():
        if value is not None and not (isinstance(value, list | tuple | set) and all(map(is_text, value))):
            raise UserError(f"{name} must be a list of names, got {value!r}")


def given_path(argument: str, value: Any, folder: Path | None = None) -> Path:
    """Return the path that a user gave for this argument, absolute and without links; it may lead anywhere.

    Args:
        argument: its name.
        value: a relative path, an absolute one, or one that begins with ~.
        folder: what it is relative to, by default the current folder.

    Raises:
        UserError: if it cannot be a path.
    """
    try:
        path = ((folder or Path()) / Path(value).expanduser()).resolve()
        path.exists()  # a name that is too long is found out here
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"{argument} must be the path of a file or a folder, got {value!r} ({error})") from None
    return path
