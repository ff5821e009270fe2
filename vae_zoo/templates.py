"""Jinja's templates of a package, those of HTML with all that is put into them escaped."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str) -> "Environment":
    """Return the templates in the folder ``templates`` of a package; a name that is not given to one is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here, since most commands need none

    return Environment(
        loader=PackageLoader(package),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
