"""The search space of a yaml."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from vae_zoo.errors import UserError
from vae_zoo.settings import nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SCOPES = ("model.", "data.", "trainer.")
KEYS = ("low", "high", "log", "step", "choices")
FORMS = "give low and high, with log or step if you like, or choices"


@dataclass(frozen=True)
class Parameter:
    """One number or choice that is searched for.

    Attributes:
        name: as the yaml has it: one or several options of ``fit``, with spaces between them, which get one value.
        given: what the yaml says of it.
    """

    name: str
    given: Mapping[str, Any]

    def options(self, value: Any) -> list[str]:
        """Return the options of ``vae-zoo fit`` that set it."""
        text = value if isinstance(value, str) else json.dumps(value)
        return [f"--{option}={text}" for option in self.name.split()]

    @property
    def ends(self) -> list[Any]:
        """Its smallest and largest value, or all choices."""
        return self.given.get("choices") or [self.given["low"], self.given["high"]]

    @property
    def distribution(self) -> "BaseDistribution":
        """What Optuna draws it from: whole numbers where both ends are."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        rest = {key: value for key, value in self.given.items() if key != "choices"}
        if "choices" in self.given:
            return CategoricalDistribution(self.given["choices"])
        whole = all(isinstance(self.given[end], int) for end in ("low", "high"))
        return IntDistribution(**rest) if whole else FloatDistribution(**rest)


def parse_space(given: Any) -> list[Parameter]:
    """Read the key ``search`` of a yaml.

    Args:
        given: by option, such as ``model.latent``, or by several with spaces between them, ``{low, high}`` with
            ``log: true`` or a ``step``, or ``{choices: [...]}``, or a list of choices.

    Raises:
        UserError: naming the entry and what is wrong with it.
    """
    if not isinstance(given, Mapping) or not given:
        raise UserError(
            f"search: it must say what to search for, such as model.latent: {{low: 2, high: 64}}, got {given!r}"
        )
    return [_parameter(str(name), value) for name, value in given.items()]


def _parameter(name: str, value: Any) -> Parameter:
    where = f"search.{name}"
    for option in name.split() or [""]:
        if not option.startswith(SCOPES):
            raise UserError(f"{where}: {option!r} is no option of a training; it begins with {' or '.join(SCOPES)}")
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = {"choices": value}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {FORMS}; got {value!r}")
    for key in value:
        if key not in KEYS:
            raise UserError(f"{where}: there is no key {key!r}{nearest(str(key), KEYS)}")
    ends = {"low", "high"} & value.keys()
    if ends if "choices" in value else len(ends) < 2:
        raise UserError(f"{where}: {FORMS}")
    if "choices" in value:
        _check_choices(where, value)
    else:
        _check_range(where, value)
    return Parameter(name, dict(value))


def _check_choices(where: str, value: Mapping[str, Any]) -> None:
    choices = value["choices"]
    if len(value) > 1 or not isinstance(choices, list) or not choices:
        raise UserError(f"{where}.choices: it must be a list of values and stand alone, got {dict(value)!r}")
    for choice in choices:
        if choice is not None and not isinstance(choice, bool | int | float | str):
            raise UserError(f"{where}.choices: {choice!r} is no plain value")


def _check_range(where: str, value: Mapping[str, Any]) -> None:
    low, high, log, step = (value.get(key) for key in ("low", "high", "log", "step"))
    for key in ("low", "high", *(["step"] if "step" in value else [])):
        if isinstance(value.get(key), bool) or not isinstance(value.get(key), Real):
            raise UserError(f"{where}.{key} must be a number, got {value.get(key)!r}")
    if log not in (None, True, False):
        raise UserError(f"{where}.log must be true or false, got {log!r}")
    assert low is not None and high is not None
    if low > high:
        raise UserError(f"{where}: low {low} is above high {high}")
    if log and (low <= 0 or step is not None):
        raise UserError(f"{where}: with log, low must be positive, and there is no step")
    if step is not None and step <= 0:
        raise UserError(f"{where}.step must be positive, got {step}")
