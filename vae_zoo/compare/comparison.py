"""What a comparison says beside its runs, ``comparison.yaml``: the order of its models, the base, and claims."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from vae_zoo import settings
from vae_zoo.compare.columns import KNOWN
from vae_zoo.errors import UserError, require, require_not_negative
from vae_zoo.settings import nearest
from vae_zoo.writing import whole

CONFIG = "config {!r} in this comparison"


@dataclass(frozen=True)
class Ordering:
    """The claim that a figure of the test has this order.

    Args:
        figure: its key in results.json.
        order: names of configurations, best first; lowest first where neither side is better.
        source: who claims it.
    """

    figure: str
    order: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class After:
    """A model after some epochs of its training.

    Args:
        config: name of the configuration.
        epoch: how many epochs, 1 or more.
    """

    config: str
    epoch: int


@dataclass(frozen=True)
class AsGoodAs:
    """The claim that one model after few epochs is as good as another after many.

    Args:
        figure: of the validation, without ``val/``.
        early: the model that is as good.
        late: what it is as good as.
        margin: share of the late figure by which the early one may be worse and still count as good as it.
        source: who claims it.
    """

    figure: str
    early: After
    late: After
    margin: float
    source: str


Claim = Ordering | AsGoodAs


@dataclass(frozen=True)
class Comparison:
    """What is compared, in which order, with what, and to test which claims.

    Args:
        configs: names of the configurations, in the order of tables and charts.
        base: the one that the others are compared with.
        claims: what is to be tested.
    """

    configs: tuple[str, ...] = ()
    base: str | None = None
    claims: tuple[Claim, ...] = ()

    @staticmethod
    def read(folder: Path) -> "Comparison":
        """Return what the folder's comparison.yaml says; a folder of other runs has none."""
        path = folder / "comparison.yaml"
        given = settings.read(path) if path.is_file() else {}
        if other := [key for key in given if key not in Comparison.__dataclass_fields__]:
            raise UserError(f"{path} is no comparison's, it has {other[0]}; move it away, or choose another folder")
        names, base = given.get("configs") or [], given.get("base")
        if not (isinstance(names, list) and all(isinstance(name, str) for name in [*names, base or ""])):
            raise UserError(f"{path} is damaged: configs and base are names; remove it, or write them there")
        configs = tuple(names)
        return Comparison(configs, base, parse_claims(given.get("claims") or (), configs))

    def write(self, folder: Path) -> None:
        """Write comparison.yaml."""
        with whole(folder / "comparison.yaml") as file:
            file.write_text(yaml.safe_dump(asdict(self), sort_keys=False))


def parse_claims(given: Any, configs: Sequence[str]) -> tuple[Claim, ...]:
    """Read the claims of a yaml.

    Args:
        given: a list, each with the arguments of `Ordering` or of `AsGoodAs`.
        configs: names of the configurations that they may be about.

    Raises:
        UserError: naming the claim and what is wrong with it.
    """
    if not isinstance(given, list | tuple):
        raise UserError(f"claims: it must be a list of claims, got {given!r}")
    return tuple(_claim(f"claims[{i}]", each, configs) for i, each in enumerate(given))


def _claim(where: str, given: Any, configs: Sequence[str]) -> Claim:
    if isinstance(given, dict) and "order" in given:
        _check_keys(where, given, Ordering)
        order = given["order"]
        if not isinstance(order, list | tuple) or len(order) < 2 or len({*map(str, order)}) < len(order):
            raise UserError(f"{where}.order: it must be a list of two or more configs, each once, got {order!r}")
        for name in order:
            _check(f"{where}.order", CONFIG, name, configs)
        return Ordering(given["figure"], tuple(order), str(given["source"]))
    _check_keys(where, given, AsGoodAs)
    early, late = (_after(f"{where}.{key}", given[key], configs) for key in ("early", "late"))
    margin = given["margin"]
    if not isinstance(margin, int | float):
        raise UserError(f"{where}.margin: it must be a number, such as 0.05 for 5 %, got {margin!r}")
    require_not_negative(**{f"{where}.margin": margin})
    if not KNOWN[given["figure"]].better:
        raise UserError(f"{where}.figure: {given['figure']} is neither better when it is low nor when it is high")
    return AsGoodAs(given["figure"], early, late, float(margin), str(given["source"]))


def _after(where: str, given: Any, configs: Sequence[str]) -> After:
    _check_keys(where, given, After)
    _check(f"{where}.config", CONFIG, given["config"], configs)
    if not isinstance(given["epoch"], int):
        raise UserError(f"{where}.epoch: it must be a whole number, got {given['epoch']!r}")
    require(1, **{f"{where}.epoch": given["epoch"]})
    return After(given["config"], given["epoch"])


def _check_keys(where: str, given: Any, kind: type) -> None:
    """Refuse anything but a dict with all of a claim's keys, and a figure that is known."""
    names = [field.name for field in fields(kind)]
    if not isinstance(given, dict):
        raise UserError(f"{where}: it must have the keys {', '.join(names)}, got {given!r}")
    for key in given:
        _check(where, "key {!r}", key, names)
    for name in names:
        if given.get(name) is None:
            raise UserError(f"{where}: {name} is missing; a claim of this kind has {', '.join(names)}")
    if "figure" in names:
        _check(f"{where}.figure", "figure {!r}", given["figure"], list(KNOWN))


def _check(where: str, what: str, name: Any, known: Sequence[str]) -> None:
    if name not in known:
        raise UserError(f"{where}: there is no {what.format(name)}{nearest(str(name), known)}")
