"""The tab Runs: the figures and curves of all runs of a folder, and their pictures by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from vae_zoo import settings
from vae_zoo.compare import charts
from vae_zoo.compare.columns import BASE, COLUMNS, KNOWN, MOST, Column, further
from vae_zoo.compare.figures import spread
from vae_zoo.curves import Point, figures_of
from vae_zoo.errors import UserError, amount
from vae_zoo.explore.picture import Page
from vae_zoo.explore.session import Session, report
from vae_zoo.explore.showing import QUICK, SLOW, hint, message, sentence, table, tiles, told, whole
from vae_zoo.runs import Run, find_runs

REPORT = "report.html"
LARGEST_EPOCH = 10**9
MANY = 60  # runs, at most, that have a line each; of more a line is a model
LINES = 200  # of the table
ARROWS = "↓ lower is better, ↑ higher is better"
ROWS = {"reconstructions": "rows of the first test pictures, each over that of their reconstructions"}


@dataclass
class Curves:
    """The curves of the runs of one model in one setting, as `charts.curves_of` draws them."""

    setting: str
    label: str
    logged: dict[str, list[list[Point]]]


def runs_of(session: Session) -> list[Run]:
    """Return the runs that are below the folder now, or those of the models."""
    if session.folder is not None:
        return find_runs(session.folder)
    return list(dict.fromkeys(explored.run for explored in session.models if explored.run))


def build(session: Session, page: Page) -> None:
    """Make the tab."""
    with gr.Tab("Runs", id="runs") as tab:
        said = message()
        out = gr.HTML(elem_id="runs-table")
        with gr.Row(elem_classes="zoo-controls"):
            refresh = gr.Button("Refresh", elem_id="look-again", min_width=120)
            figure = gr.Dropdown(["mse"], value="mse", label="curve of", elem_id="curve-of", min_width=140)
        curve = gr.HTML(elem_id="curves")
        with gr.Row(elem_classes="zoo-controls"):
            kind = gr.Dropdown([], label="pictures", elem_id="kind", min_width=200)
            epoch = gr.Slider(0, 1, 0, step=1, label="after so many epochs", elem_id="epoch", min_width=200, buttons=[])
        wall = gr.HTML(elem_id="wall")

    controls, results = [figure, kind, epoch], [out, curve, wall]
    seen = told(partial(look, session), 6)
    gr.on([tab.select, refresh.click, page.blocks.load], seen, controls, [*controls, *results, said], **SLOW)
    figure.input(told(lambda name: _curves(session, drawn(runs_of(session)), name)), figure, [curve, said], **SLOW)
    gr.on(
        [kind.input, epoch.input],
        told(lambda kind, at: _wall(session, drawn(runs_of(session), 1), kind, at)),
        [kind, epoch],
        [wall, said],
        **QUICK,
    )


def look(session: Session, figure: str, kind: str | None, epoch: Any) -> tuple:
    """Return what the tab shows now: the three controls, then the HTML of the table, the curves and the pictures."""
    runs = runs_of(session)
    with_curves, with_pictures = drawn(runs), drawn(runs, 1)
    figures = sorted({name for run in with_curves for name in _figures(run)}) or ["mse"]
    figure = next((name for name in (figure, "mse", "loss") if name in figures), figures[0])
    pictures = [run.pictures for run in with_pictures]
    kinds = sorted({name for found in pictures for name in found})
    kind = kind if kind in kinds else ("reconstructions" if "reconstructions" in kinds else next(iter(kinds), None))
    last = max((number for found in pictures for number in found.get(kind or "", {})), default=0)
    at = epoch if epoch and epoch <= last else last
    return (
        gr.update(choices=[(_title(name), name) for name in figures], value=figure),
        gr.update(choices=kinds, value=kind),
        gr.update(maximum=max(last, 1), value=at),
        _table(session, runs) + _report_link(session),
        _curves(session, with_curves, figure),
        _wall(session, with_pictures, kind, at),
    )


def drawn(runs: list[Run], seeds: int = charts.SEEDS // MOST) -> list[Run]:
    """Return the runs that are drawn: all, or of more than `MANY` some of each of the newest models.

    Args:
        runs: that there are.
        seeds: of a model, at most.
    """
    if len(runs) <= MANY:
        return runs
    return [run for members in _by_model(runs)[:MOST] for run in members[:seeds]]


def _by_model(runs: list[Run]) -> list[list[Run]]:
    """The runs that differ by nothing but their number, by model, the newest model first."""
    members: dict[tuple[Path, str], list[Run]] = {}
    for run in runs:
        numbered = run.name != run.folder.name
        members.setdefault((run.folder.parent if numbered else run.folder, run.name), []).append(run)
    return sorted(members.values(), key=lambda each: max(run.time for run in each), reverse=True)


def _name(session: Session, run: Run) -> str:
    if session.folder is not None and run.folder.is_relative_to(session.folder):
        return str(run.folder.relative_to(session.folder)) if run.folder != session.folder else run.folder.name
    return run.folder.name if run.name == run.folder.name else f"{run.name}/{run.folder.name}"


def _figures(run: Run) -> list[str]:
    try:
        return figures_of(run.metrics_file)
    except (UserError, OSError):  # which the table tells
        return []


def _table(session: Session, runs: list[Run]) -> str:
    """A line a run, with the figures of its test, or why there are none; of many runs a line a model."""
    if not runs:
        return sentence("There is no run here.")
    models = [[run] for run in runs] if len(runs) <= MANY else _by_model(runs)
    lines = models[:LINES]
    keys = {key for run in runs for key, v in (run.results["figures"] if run.results else {}).items() if v is not None}
    columns = [column for column in COLUMNS if column.key in keys] + [
        further(key) for key in sorted(keys - KNOWN.keys())
    ]
    rows = [_line(session, members, columns) for members in lines]
    complete = not any(row[-1] for row in rows)
    if complete:
        rows = [row[:-1] for row in rows]
    arrows = {-1: "\N{NO-BREAK SPACE}↓", 0: "", 1: "\N{NO-BREAK SPACE}↑"}
    titles = [column.title.replace(BASE, "the base") + arrows[column.better] for column in columns]
    why = ["why there are no figures"] * (not complete)
    many = hint(_left_out(len(runs), len(models))) if len(runs) > MANY else ""
    return (
        many
        + table(["run" if len(runs) <= MANY else "runs", "model", "epochs", *titles, *why], rows)
        + hint(ARROWS if any(column.better for column in columns) else "")
    )


def _line(session: Session, runs: list[Run], columns: Sequence[Column]) -> list[str]:
    """A line of the table: of a run, or of the runs of one model, and last why there are no figures."""
    first, tested = runs[0], [run.results for run in runs if run.results]
    try:
        model = tested[0]["model"] if tested else str(settings.class_name(first.config.get("model") or {}))
    except Exception as error:  # of any yaml
        model = report(error) if isinstance(error, UserError) else "its config.yaml is damaged"
    epochs = sorted({run.epoch for run in runs})
    cells = []
    for column in columns:
        values = [value for results in tested if (value := results["figures"].get(column.key)) is not None]
        cells.append(spread(values, column) if values else "")
    name, why = _name(session, first), next((str(run.untested) for run in runs if not run.results), "")
    if len(runs) > 1:
        name = f"{name} and {len(runs) - 1:,} more"
        why = why and f"of {len(runs) - len(tested):,} of them: {why}"
    return [name, model, " to ".join(map(str, dict.fromkeys((epochs[0], epochs[-1])))), *cells, why]


def _left_out(runs: int, models: int) -> str:
    """What the tab does not show of so many runs and models, and how to see it."""
    lines = f"the {LINES} newest of {models:,}" if models > LINES else f"{models:,}"
    return (
        f"There are {runs:,} runs here. A line is a model, of {lines}: mean ± standard deviation over its runs. Curves "
        f"and pictures are of the {min(MOST, models)} newest models, and of their first runs; vae-zoo explore with a "
        "folder further below shows others, and vae-zoo report writes a line for each run into results.csv."
    )


def _report_link(session: Session) -> str:
    if session.folder is None or not (session.folder / REPORT).is_file():
        return ""
    return f'<p><a href="{REPORT}" target="_blank" rel="noopener">The report of this comparison</a></p>'


def _curves(session: Session, runs: list[Run], figure: str) -> str:
    by_model: dict[tuple[str, str], Curves] = {}
    names = [f"{part}/{figure}" for part in ("train", "val")]
    for run in runs:
        try:
            setting, found = run.likelihood or "", run.curves(names)
        except Exception as error:  # of any yaml and csv, which the table tells
            if not isinstance(error, (UserError, OSError, AttributeError, TypeError)):
                raise
            continue
        of_model = by_model.setdefault((setting, run.name), Curves(setting, run.name, {name: [] for name in names}))
        for name, curve in found.items():
            of_model.logged[name].append(curve)
    models = list(by_model.values())
    return "".join(charts.curves_of(models, figure, _title(figure), [panel]) for panel in charts.PANELS)


def _title(figure: str) -> str:
    return (KNOWN.get(figure) or further(figure)).title


def _wall(session: Session, runs: list[Run], kind: str | None, epoch: Any) -> str:
    """The newest pictures of a kind that are of this epoch or of an earlier one, of each run that has one."""
    at = whole(epoch, 0, LARGEST_EPOCH, "the number of epochs")
    found = []
    for run in runs:
        there = {number: path for number, path in run.pictures.get(kind or "", {}).items() if number <= at}
        if there and (source := charts.picture_url(there[max(there)])):
            what = f"{kind}, {ROWS[kind]}," if kind in ROWS else kind
            found.append((source, f"{_name(session, run)}: {what} after {amount(max(there), 'epoch')}"))
    if not found:
        return sentence("There are no pictures yet.") if kind is None else sentence("There are none as early as that.")
    return f'<div class="zoo-wall">{tiles(found)}</div>'
