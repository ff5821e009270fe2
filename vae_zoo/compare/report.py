"""From run folders to ``report.html``, ``report.md`` and ``results.csv``."""

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from vae_zoo import settings
from vae_zoo.compare import charts
from vae_zoo.compare.claims import findings
from vae_zoo.compare.columns import Column, fitting, some
from vae_zoo.compare.comparison import Claim, Comparison
from vae_zoo.compare.figures import DRAWN, Group, columns_of, read_groups
from vae_zoo.compare.parts import shared_parts
from vae_zoo.compare.ranking import foremost, rank
from vae_zoo.compare.verdict import across, verdict
from vae_zoo.errors import UserError
from vae_zoo.marks import WRITTEN, refuse_foreign
from vae_zoo.settings import nearest
from vae_zoo.templates import environment
from vae_zoo.writing import whole

LEFT_OUT = 50  # runs that are named, with the reason
ROOM = 120  # characters of a line of the table, on a screen of 1,400 pixels


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder's report."""
    return [folder / name for name in ("report.html", "report.md", "results.csv")]


def write_report(folder: Path, base: str | None = None, draw: Sequence[str] = ()) -> tuple[list[str], list[Path]]:
    """Compare the runs below a folder and write the report into it; only they and comparison.yaml are read.

    Args:
        folder: of the runs.
        base: name of the configuration that the others are compared with; None: as comparison.yaml says.
        draw: names of the configurations whose curves and pictures are shown; none: all, or of many the foremost.

    Returns:
        the verdict, line by line, and the files.

    Raises:
        UserError: if there is nothing to compare, the runs were not made under identical conditions, or a file in a
            report's place is none.
    """
    files = files_of(folder)
    refuse_foreign(*files)
    comparison = Comparison.read(folder)
    groups, left_out = read_groups(folder, comparison.configs, base or comparison.base)
    names = list(dict.fromkeys(group.name for group in groups))
    for option, given in (("base", [base] if base is not None else []), ("draw", draw)):
        for name in given:
            if name not in names:
                raise UserError(f"--{option} {name}: there is no tested run of that name{nearest(name, names)}")
    chosen, by = foremost(groups, base or comparison.base)
    drawn = [group for group in groups if group.name in (draw or chosen)]
    undrawn = len(names) - len({group.name for group in drawn})
    by_setting = {
        setting: [g for g in groups if g.setting == setting] for setting in dict.fromkeys(g.setting for g in groups)
    }
    columns = columns_of(groups, base or comparison.base)
    asked = {key for group in groups for figures in group.figures for key in figures}
    shown = [column for column in columns if column.key in asked]
    first = groups[0].runs[0]
    results = first.tested
    share = charts.share(drawn)
    parts = {setting: list(shared_parts(members, base or comparison.base)) for setting, members in by_setting.items()}
    content = {
        "written": WRITTEN,
        "names": some(list(dict.fromkeys(group.label for group in groups))),
        "settings": [_setting(*each, shown, comparison.claims, drawn, share) for each in by_setting.items()],
        # Said once, where a likelihood has no parameters of its own.
        "parts": {"": parts[groups[0].setting]} if len({*map(tuple, parts.values())}) == 1 else parts,
        "drawn": DRAWN,
        "across": list(across(groups)),
        "claims": comparison.claims,
        "columns": shown,
        "curves": charts.curves(drawn),
        "bars": charts.bars(drawn),
        "undrawn": undrawn,
        "chosen": "those named by --draw" if draw else f"the base, if there is one, and the first by their {by}",
        "left_out": dict([*left_out.items()][:LEFT_OUT]),
        "left_out_too": len(left_out) - LEFT_OUT,
        "epochs": results["epochs"],
        "seeds": sorted({run.tested["seed"] or 0 for group in groups for run in group.runs}),
        "seeds_drawn": charts.seeds_drawn(drawn),
        "split": results["split_sha256"],
        "shape": results["shape"],
        "on_test": settings.arguments(first.config, "data").get("val_on_test", False),
        "environments": _environments(groups),
        "configs": {g.label: _config(g) for g in groups},
    }
    page = environment("vae_zoo.compare")
    for file in files[:2]:
        with whole(file) as temporary:
            temporary.write_text(page.get_template(f"{file.name}.j2").render(content), encoding="utf-8")
    _write_csv(files[2], groups, columns)
    said = [f"{s['name']}. {line}" for s in content["settings"] for line in s["verdict"]]
    return [*said, *content["across"]], files


def _setting(
    name: str,
    groups: Sequence[Group],
    columns: Sequence[Column],
    claims: Sequence[Claim],
    drawn: Sequence[Group],
    share: int,
) -> dict[str, Any]:
    """What the page says of one likelihood.

    Args:
        name: of the setting.
        groups: of it.
        columns: of the table.
        claims: to be tested.
        drawn: those whose pictures are shown, of all settings.
        share: bytes of a picture.
    """
    notes: list[str] = []
    best = {column.key: rank(groups, column).best for column in columns if column.better}
    rows: list[dict[str, Any]] = []
    for group in groups:
        cells = []
        for column in columns:
            text = group.text(column)
            reason = group.reasons.get(column.key) if text == "n/a" else None
            if reason and reason not in notes:
                notes.append(reason)
            note = notes.index(reason) + 1 if reason else None
            shaded = best.get(column.key) is group
            cells.append({"text": text, "value": group.mean(column.key), "note": note, "best": shaded})
        rows.append({"label": group.label, "cells": cells})
    texts = {column.key: [row["cells"][i]["text"] for row in rows] for i, column in enumerate(columns)}
    few = fitting(columns, texts, ROOM - max(len(group.label) for group in groups))
    return {
        "name": name or "as configured",
        "rows": rows,
        "notes": notes,
        "verdict": list(verdict(groups)),
        "claims": list(findings(claims, groups)),
        "few": few,
        "abouts": [
            (about, [c.key for c in members]) for about, members in groupby(columns, lambda column: column.about)
        ],
        "wall": charts.wall([group for group in groups if group in drawn], share),
    }


def _environments(groups: Sequence[Group]) -> list[str]:
    """What the runs ran on, each once."""
    found: dict[str, None] = {}
    for results in (run.tested for group in groups for run in group.runs):
        names = {**results["environment"], "git revision": results["git_revision"]}
        found[", ".join(f"{name} {value}" for name, value in names.items() if value)] = None
    return list(found)


def _config(group: Group) -> str:
    """What was set for a model, without what is as the Trainer has it."""
    config = group.runs[0].config
    trainer = {name: value for name, value in (config.get("trainer") or {}).items() if value is not None}
    shown = {"model": config["model"], "data": config["data"], "trainer": trainer, "evaluation": config["evaluation"]}
    return yaml.safe_dump(shown, sort_keys=False)


def _write_csv(path: Path, groups: Sequence[Group], columns: Sequence[Column]) -> None:
    """One line a run, all figures as they are."""
    with whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["likelihood", "model", "seed", "epochs", *(column.key for column in columns), "run"])
        for group in groups:
            for run, figures in zip(group.runs, group.figures, strict=True):
                values = [figures.get(column.key) for column in columns]
                where = run.folder.relative_to(path.parent)
                writer.writerow([group.setting, group.label, run.tested["seed"], run.tested["epochs"], *values, where])
