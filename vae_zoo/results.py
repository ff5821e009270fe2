"""What results.json holds."""

from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Any, NotRequired, TypedDict, get_args, get_origin, get_type_hints, is_typeddict


class Traits(TypedDict):
    """What a model declares to be and to have, as `vae_zoo.models.GenerativeModel` explains it."""

    density: bool
    conditional: bool
    regularised: bool
    encodes: bool
    pixels: bool


class Results(TypedDict):
    """The content of results.json, where the figures stand beside the other keys.

    Attributes:
        model: name of the class.
        traits: what it declares.
        figures: of the test, by name; None where there is no number.
        reasons: by name, why there is none.
        nll_samples: importance samples of the NLL; None where it was not estimated.
        parameters: how many the model has.
        parts: how many each part of it has; missing in results of earlier versions.
        shape: of one image or sketch.
        epochs: that it was trained for.
        seed: of the training.
        split_sha256: of the images' ids by part.
        timing: what training cost, as `vae_zoo.callbacks.Timing` measures it, and `epoch_seconds`, a list.
        environment: versions and device.
        git_revision: of the source; None where git does not track it.
    """

    model: str
    traits: Traits
    figures: dict[str, float | None]
    reasons: dict[str, str]
    nll_samples: int | None
    parameters: int
    parts: NotRequired[dict[str, int]]
    shape: list[int]
    epochs: int
    seed: int | None
    split_sha256: str | None
    timing: dict[str, Any]
    environment: dict[str, Any]
    git_revision: str | None


REQUIRED = Results.__required_keys__ - {"figures"}  # the keys on disk without which it is an older version's
NO_FIGURES = REQUIRED | Results.__optional_keys__  # the keys on disk that are not figures


def damage(content: dict[str, Any]) -> str | None:
    """Return which value of a results.json is of no type that it can have, None if there is none such.

    Args:
        content: of the file, with all the keys that are not figures.
    """
    kinds = _kinds()
    figure = _check_of(float | None)
    wrong = (name for name, value in content.items() if not kinds.get(name, figure)(value))
    return next((f"{name} is {str(content[name])[:40]}" for name in wrong), None)


@cache
def _kinds() -> dict[str, Callable[[Any], bool]]:
    """By key that is no figure, whether a value is of its type."""
    kinds = {name: kind for name, kind in get_type_hints(Results).items() if name in NO_FIGURES}
    kinds["timing"] = dict[str, float | list[float] | None]
    return {name: _check_of(kind) for name, kind in kinds.items()}


@cache  # looking into a type takes longer than the checks, of which a folder of runs has a hundred thousand
def _check_of(kind: Any) -> Callable[[Any], bool]:
    """Whether a value of a JSON file is of a kind; a float may be a whole number, and is finite."""
    if isinstance(kind, UnionType):
        of_any = [_check_of(each) for each in get_args(kind)]
        return lambda value: any(check(value) for check in of_any)
    if is_typeddict(kind):
        of_keys = {name: _check_of(hint) for name, hint in get_type_hints(kind).items()}
        return lambda value: (
            isinstance(value, dict) and all(name in value and check(value[name]) for name, check in of_keys.items())
        )
    if get_origin(kind) is dict:
        of_value = _check_of(get_args(kind)[1])
        return lambda value: isinstance(value, dict) and all(map(of_value, value.values()))
    if get_origin(kind) is list:
        of_item = _check_of(get_args(kind)[0])
        return lambda value: isinstance(value, list) and all(map(of_item, value))
    if kind is float:
        return lambda value: type(value) in (int, float) and abs(value) <= 3.4e38  # a bool is an int, too
    if kind is int:
        return lambda value: type(value) is int and abs(value) < 2**63
    return lambda value: kind is Any or type(value) is kind
