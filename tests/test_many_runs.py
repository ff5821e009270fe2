"""A folder of many runs: each file is read once, and what is shown of them can be read."""

import os
import random
import re
import sys
from collections import Counter
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.conftest import REPOSITORY, call
from tests.run_folders import MODELS, change_results, compared, made_run
from vae_zoo import yamls
from vae_zoo.compare import ranking
from vae_zoo.compare.columns import KNOWN, MOST, some
from vae_zoo.compare.ranking import Ranking
from vae_zoo.compare.report import write_report
from vae_zoo.errors import UserError
from vae_zoo.explore import runs as tab
from vae_zoo.explore.session import Session
from vae_zoo.runs import Run, find_runs

OPENED: list[Counter] = []  # an audit hook stays for as long as the process does


def _count(event, arguments):
    if OPENED and event == "open" and isinstance(arguments[0], str | os.PathLike):
        OPENED[-1][Path(arguments[0])] += 1


sys.addaudithook(_count)


@contextmanager
def opened():
    """Count how often each file is opened, by its name and by the file."""
    OPENED.append(Counter())
    try:
        yield OPENED[-1]
    finally:
        OPENED.pop()


def times(found, name):
    """How often files of a name were opened: the number of files by the number of times."""
    return Counter(n for path, n in found.items() if path.name == name)


def test_the_index_reads_the_results_of_each_run_once_and_nothing_else(tmp_path):
    compared(tmp_path, seeds=4)
    with opened() as found:
        runs = find_runs(tmp_path)
        assert len(runs) == 20 and all(run.results and run.epoch == 6 and run.untested is None for run in runs)
    assert dict(found) == dict.fromkeys((run.results_file for run in runs), 1)


def test_a_report_reads_each_file_once_and_of_the_curves_the_names_before(tmp_path):
    compared(tmp_path, seeds=2)
    with opened() as found:
        write_report(tmp_path)
    assert times(found, "results.json") == {1: 10} and times(found, "config.yaml") == {1: 10}
    assert times(found, "metrics.csv") == {2: 10}


def test_the_tab_of_many_runs_has_a_line_a_model_and_draws_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(tab, "MANY", 4)
    monkeypatch.setattr(tab, "MOST", 2)
    compared(tmp_path, seeds=3)
    for name in ("flow", "sharp"):
        for run in find_runs(tmp_path / "Gaussian" / name):
            os.utime(run.config_file, (2e9, 2e9))
    change_results(Run(tmp_path / "Gaussian/slow/seed_1"), traits=None)
    with opened() as found:
        *_, table, curves, wall = tab.look(Session([], tmp_path, 0), "mse", "samples", None)
    assert times(found, "results.json") == {1: 15}
    assert {path.parent.parent.name for path in found if path.name == "metrics.csv"} == {"flow", "sharp", "slow"}
    rows = re.findall('<th scope="row">(.*?)</th>(.*?)</tr>', table)
    assert {name for name, _ in rows} == {f"Gaussian/{name}/seed_0 and 2 more" for name in MODELS}
    (base,) = (cells for name, cells in rows if "base" in name)
    assert ">0.02410 ± 0.00010<" in base  # of 0.0240, 0.0241 and 0.0242
    (slow,) = (cells for name, cells in rows if "slow" in name)
    assert "of 1 of them: it was tested by an older version" in slow and ">0.02310 ± 0.00014<" in slow
    assert "There are 15 runs here. A line is a model, of 5:" in table
    assert {name for name in MODELS if f">{name}<" in curves} == {"flow", "sharp"}
    assert re.findall('alt="(.*?)"', wall) == [
        f"Gaussian/{name}/seed_0: samples after 6 epochs" for name in ("flow", "sharp")
    ]


def test_of_more_models_than_a_line_the_newest_have_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tab, "MANY", 4)
    monkeypatch.setattr(tab, "LINES", 2)
    compared(tmp_path, seeds=1)
    os.utime(Run(tmp_path / "Gaussian/slow/seed_0").config_file, (2e9, 2e9))
    *_, table, _, _ = tab.look(Session([], tmp_path, 0), "mse", None, None)
    assert table.count('scope="row"') == 2 and "Gaussian/slow/seed_0<" in table and "of the 2 newest of 5:" in table


def test_few_runs_have_a_line_each(tmp_path):
    compared(tmp_path, seeds=2)
    *_, table, curves, wall = tab.look(Session([], tmp_path, 0), "mse", "samples", None)
    assert table.count('scope="row"') == 10 == wall.count("<img") and "There are" not in table
    assert all(f">{name}<" in curves for name in MODELS)


# ---- the report


def test_of_many_models_the_base_and_the_first_by_their_mse_are_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ranking, "MOST", 3)
    compared(tmp_path, seeds=2)

    def drawn(page):
        charts = "".join(re.findall("<svg.*?</svg>", page, re.S))
        pictures = {label for label in re.findall(r'alt="(\w+): ', page)}
        assert pictures == {name.title() for name in MODELS if f">{name.title()}<" in charts}
        return pictures

    page = write_report(tmp_path)[1][0].read_text()
    # Floor is best, but follows no prior, and is not ranked.
    assert drawn(page) == {"Base", "Sharp", "Slow"} and page.count('<th scope="row">') == 5
    assert "Of 2 models there are no curves" in page and "the first by their MSE" in page
    assert "MSE: Sharp &lt; Slow &lt; Base and 1 more." in page
    assert call("report", tmp_path, "--draw", "floor", "flow") == 0
    page = (tmp_path / "report.html").read_text()
    assert drawn(page) == {"Floor", "Flow"} and "shown are those named by --draw" in page
    assert call("report", tmp_path, "--draw", "flo") == 1
    assert "--draw flo: there is no tested run of that name; did you mean" in capsys.readouterr().err
    monkeypatch.undo()
    page = write_report(tmp_path)[1][0].read_text()
    assert drawn(page) == {name.title() for name in MODELS} and "there are no curves" not in page


def test_runs_that_are_left_out_are_named_up_to_a_number(tmp_path):
    made_run(tmp_path, "base")
    for seed in range(1, 54):
        folder = Run(tmp_path / f"Gaussian/base/seed_{seed}")
        folder.folder.mkdir()
        folder.log_file.write_text("")
    page, text, _ = write_report(tmp_path)[1]
    for said, line in ((page.read_text(), "<li>"), (text.read_text(), "- ")):
        assert said.count("it was not begun") == 50 and f"{line}and 3 more" in said


def test_a_page_has_room_for_some_lines_of_many_seeds(tmp_path):
    for seed in range(70):
        made_run(tmp_path, "base", seed)
    page = write_report(tmp_path)[1][0].read_text()
    assert "seeds 0 to 69, 70 of them" in page and "single seeds, the first 64 of each model" in page
    chart = re.search('<svg[^>]*aria-label="MSE.*?</svg>', page, re.S)[0]
    assert chart.count("stroke-opacity: 0.6") == 2 * 64  # of the validation, by epochs and by seconds


@pytest.mark.parametrize("seed", range(20))
def test_a_ranking_is_cut_where_all_before_are_apart_from_all_behind(seed):
    dice = random.Random(seed)
    groups = [SimpleNamespace(label=f"m{i}", runs=[0, 1]) for i in range(dice.randint(1, MOST + 3))]
    near = dice.choice((1, 2, 20))
    p = {
        frozenset((a.label, b.label)): 0.0 if abs(groups.index(a) - groups.index(b)) > near * dice.random() else 1.0
        for a, b in combinations(groups, 2)
    }
    ranked = Ranking([], KNOWN["mse"])
    ranked.groups, ranked._p = groups, p
    shown = groups[:MOST]
    cuts = [
        i
        for i in range(1, len(shown))
        if all(p[frozenset((a.label, b.label))] == 0 for a in groups[:i] for b in groups[i:])
    ]
    said = str(ranked)
    assert [len(re.findall(r"m\d+", re.sub("; apart:.*", "", block))) for block in _blocks(said)] == [
        end - begin for begin, end in zip([0, *cuts], [*cuts, len(shown)], strict=True)
    ]
    assert said.endswith(f" and {len(groups) - MOST} more") == (len(groups) > MOST)


def _blocks(said):
    """What stands between the signs of a ranking that are in no brackets."""
    return re.sub(r"\([^)]*\)", lambda found: found[0].replace("<", "/"), said).split(" < ")


def test_words_of_which_some_are_named():
    assert some(["a"] * MOST) == ", ".join(["a"] * MOST)
    assert some(["a"] * (MOST + 1200), "; ") == "; ".join(["a"] * MOST) + " and 1,200 more"


# ---- yamls


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_yaml_says_what_pyyaml_reads(path):
    text = path.read_text()
    assert yamls.load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", ["a: &b [1, 2]\nc: *b", "a: 2024-01-02", "a: !!float 1", "", "# nothing", "<<: {a: 1}"]
)
def test_yamls_of_all_sorts_say_what_pyyaml_reads(text):
    assert yamls.load(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["[" * 900, "[" * 5000, "[ " * 900 + "]" * 900, "- " * 5000])
def test_a_yaml_that_is_nested_too_deeply_is_one_sentence(text):
    with pytest.raises((UserError, yaml.YAMLError), match="nested too deeply|expected the node|did not find"):
        yamls.load(text)


def test_half_a_character_is_no_yaml():
    with pytest.raises(yaml.YAMLError, match="is no character"):
        yamls.check("a: \ud800")
