"""``python -m tests.torture``: make all cases, and print what came of them, category by outcome."""

import argparse
import importlib
import math
import multiprocessing
import os
import pkgutil
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

# How many cases each category makes, those that are named in it among them; those that take long come first.
COUNTS = {
    "kills": 117,
    "diverging": 84,
    "downloads": 90,
    "code": 260,
    "paths": 120,
    "checkpoints": 330,
    "caches": 150,
    "settings": 330,
    "annotations": 235,
    "files": 150,
    "reports": 120,
    "calls": 500,
}


class Made(NamedTuple):
    """A case that was made, by category and number, and what came of it."""

    category: str
    number: int
    name: str
    verdict: Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the cases that are asked for.

    Returns:
        the exit status: 1 where any outcome is a fault, or a case was left out for want of time.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", metavar="CATEGORY[:NUMBER]", help="these alone, and what they said")
    parser.add_argument("--every", type=int, default=1, help="of each category every n-th case alone, for a sample")
    parser.add_argument("--against", type=Path, help="a folder with another checkout of vae_zoo, to try that one")
    parser.add_argument("--seed", type=int, default=0, help="of all that is generated (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=30, help="begin no case after so many (default %(default)s)")
    parser.add_argument("--out", type=Path, help="file for the table and the faults, beside printing them")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture") as folder:
        made, left = _run(options, Path(folder), began + 60 * options.minutes)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = report(made) + f"\n{len(made)} cases, seed {options.seed}, {(time.monotonic() - began) / 60:.0f} minutes, "
    text += f"{(used.ru_utime + used.ru_stime) / 60:.0f} of a processor"
    text += f"; {left} cases were left out: the time was over" if left else ""
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    return int(bool(left) or any(case.verdict.outcome not in ("correct", "clear error") for case in made))


def report(made: Sequence[Made]) -> str:
    """The table, and below it each fault with what makes it again."""
    from tests.torture.harness import FAULTS, OUTCOMES

    counts = Counter((case.category, case.verdict.outcome) for case in made)
    rows = [("category", "cases", *OUTCOMES)]
    for category in [name for name in COUNTS if any(case.category == name for case in made)]:
        found = [counts[category, outcome] for outcome in OUTCOMES]
        rows.append((category, *map(str, (sum(found), *found))))
    totals = [sum(int(row[i]) for row in rows[1:]) for i in range(1, len(rows[0]))]
    rows.append(("all", *map(str, totals)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for case in sorted(made):
        if case.verdict.outcome in (*FAULTS, "not made"):
            last = case.verdict.reason.strip().splitlines()[-1:] or [""]
            lines.append(f"{case.category}:{case.number} {case.name}: {case.verdict.outcome}: {last[0][:300]}")
    return "\n".join(lines)


def _run(options: argparse.Namespace, folder: Path, end: float) -> tuple[list[Made], int]:
    os.environ |= {"TORTURE_SEED": str(options.seed), "TORTURE_TEMPLATES": str(folder / "templates")}
    os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    if options.against:
        sys.path.insert(0, str(options.against.resolve()))
    _import_all()
    from tests.torture import harness, templates

    global _cases, _folder
    wanted: dict[str, list[int]] = {}  # by category, the numbers; none for all
    for word in options.only or COUNTS:
        name, _, number = word.partition(":")
        wanted.setdefault(name, []).extend([int(number)] if number else [])
    modules = {name: importlib.import_module(f"tests.torture.{name}") for name in COUNTS if name in wanted}
    _cases = {name: module.cases(COUNTS[name]) for name, module in modules.items()}
    _cases["templates"] = [harness.Case(name, make) for name, make in templates.makers().items()]
    _folder = folder
    asked = [
        (name, number) for name in modules for number in (wanted[name] or range(0, len(_cases[name]), options.every))
    ]
    made: list[Made] = []
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as pool:
        for numbers in ([0], range(1, len(_cases["templates"]))):
            for case in pool.map(_make, [("templates", number) for number in numbers]):
                assert case and case.verdict.outcome == "correct", case
        for future in as_completed([pool.submit(_make, each, end) for each in asked]):
            if case := future.result():
                made.append(case)
                if len(made) % 100 == 0:
                    print(f"{len(made)} of {len(asked)} cases", file=sys.stderr, flush=True)
                if options.only:
                    print(
                        f"{case.category}:{case.number} {case.name}: {case.verdict.outcome}, "
                        f"{case.verdict.seconds:.1f} s: {case.verdict.reason}",
                        flush=True,
                    )
    return made, len(asked) - len(made)


def _make(which: tuple[str, int], end: float = math.inf) -> Made | None:
    """One case, in a process of the pool; None where the time is over."""
    if time.monotonic() > end:
        return None
    from tests.torture.harness import Verdict, judge

    case = _cases[which[0]][which[1]]
    try:
        return Made(*which, case.name, judge(case, _folder))
    except Exception as error:  # a mistake in the campaign, or what an older checkout lacks
        said = "".join(traceback.format_exception(error)[-3:])
        return Made(*which, case.name, Verdict("not made", said, 0.0))


def _import_all() -> None:
    """All that a command imports, so that a fork need not."""
    import matplotlib.pyplot  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401

    import vae_zoo

    warnings.simplefilter("default")
    for module in pkgutil.walk_packages(vae_zoo.__path__, "vae_zoo."):
        if not module.name.endswith(("__main__", ".child")):
            importlib.import_module(module.name)


if __name__ == "__main__":
    sys.exit(main())
