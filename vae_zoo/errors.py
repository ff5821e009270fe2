"""The one exception that means: what was asked for cannot be done, and here is what to do about it."""


class UserError(ValueError):
    """A mistake in an argument, a file or a folder, told in one sentence.

    The command line prints the sentence and exits with status 1; in a notebook it is an ordinary ``ValueError``.
    """


def require(low: float, **values: float) -> None:
    """Raise a UserError that names the first of these values below `low`."""
    for name, value in values.items():
        if not value >= low:
            raise UserError(f"{name} must be at least {low}, got {value}")


def require_positive(**values: float) -> None:
    """Raise a UserError that names the first of these values that is not above zero."""
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"{name} must be positive, got {value}")


def require_share(**values: float) -> None:
    """Raise a UserError that names the first of these values that is not between 0 and 1."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name} must be between 0 and 1, got {value}")
