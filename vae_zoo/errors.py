"""The one exception that means: what was asked for cannot be done, and here is what to do about it."""

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

LARGEST = 3.4028234663852886e38  # of float32, in which models compute


class UserError(ValueError):
    """A mistake in an argument, a file or a folder, told in one sentence.

    The command line prints the sentence and exits with status 1; in a notebook it is an ordinary ``ValueError``.
    """


def causes_of(error: BaseException) -> list[BaseException]:
    """Return an error, what it was raised from, and so on to the first of all."""
    found = [error]
    while cause := found[-1].__cause__ or found[-1].__context__:
        found.append(cause)
    return found


def printable(text: str) -> str:
    """Return a text as a terminal may show it: its control characters, which could command the terminal, escaped."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def amount(n: int, singular: str, plural: str | None = None) -> str:
    """Return how many of something there are, in words: 0 epochs, 1 epoch, 2 epochs."""
    return f"{n} {singular if n == 1 else plural or f'{singular}s'}"


def require(low: int, high: int = 2**32 - 1, optional: Any = False, **values: int | None) -> None:
    """Raise a UserError that names the first of these values that is no whole number from `low` to `high`.

    Args:
        low: the smallest that is allowed.
        high: the largest; a seed of NumPy's has at most 32 bits.
        optional: whether None is allowed.
        values: by their names.
    """
    for name, value in values.items():
        if value is None and optional:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise UserError(f"{name} must be a whole number, got {value!r}")
        if value < low:
            raise UserError(f"{name} must be at least {low}, got {value}")
        if value > high:
            raise UserError(f"{name} must be at most {high}, got {value if value < 2**63 else 'a far larger one'}")


def require_not_negative(**values: float) -> None:
    """Raise a UserError that names the first of these values that is no number, infinite, or below zero."""
    for name, value in _numbers(values):
        if value < 0:
            raise UserError(f"{name} must be at least 0, got {value}")


def require_positive(**values: float) -> None:
    """Raise a UserError that names the first of these values that is no number, infinite, or not above zero."""
    for name, value in _numbers(values):
        if value <= 0:
            raise UserError(f"{name} must be positive, got {value}")


def require_share(**values: float) -> None:
    """Raise a UserError that names the first of these values that is no number between 0 and 1."""
    for name, value in _numbers(values):
        if not 0 <= value <= 1:
            raise UserError(f"{name} must be between 0 and 1, got {value}")


def _numbers(values: dict[str, float]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not -LARGEST <= value <= LARGEST:
            raise UserError(f"{name} must be a finite number, got {value!r}")
        yield name, value
