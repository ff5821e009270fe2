"""The card of a model that is handed on: its figures are the run's, its lines load it, and no name in it is markup."""

import json
import re

import pytest
import yaml

from tests.conftest import call
from tests.zoo import models_that, small
from vae_zoo.checkpoints import read
from vae_zoo.models import DCGAN, VAE, SketchRNN
from vae_zoo.runs import Run
from vae_zoo.sharing import export

pytest_plugins = ["tests.trained_runs"]


def front_matter(card):
    header, rest = re.fullmatch(r"---\n(.*?)---\n(.*)", card, re.S).groups()
    return yaml.safe_load(header), rest


def python_blocks(card):
    return re.findall(r"^```python\n(.*?)^```$", card, re.M | re.S)


@pytest.mark.slow
def test_the_card_of_a_tested_run(run, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(run.parents[2])
    assert call("export", "--out", "shared", "--license", "apache-2.0") == 0
    assert "wrote shared: README.md, config.json, model.safetensors, reconstructions.png" in capsys.readouterr().out
    card = (run.parents[2] / "shared" / "README.md").read_text()
    header, text = front_matter(card)
    results = json.loads((run / "results.json").read_text())
    assert header["license"] == "apache-2.0" and header["library_name"] == "vae_zoo"
    told = {each["type"]: each["value"] for each in header["model-index"][0]["results"][0]["metrics"]}
    assert told["mse"] == results["mse"] and told["nll"] == results["nll"] and set(header["metrics"]) == set(told)
    assert f"| `mse` | `{results['mse']:.6g}` |" in text and "| importance samples of the NLL | `3` |" in text
    assert f"| SHA-256 of the split | `{results['split_sha256']}` |" in text
    assert "Variational autoencoder (Kingma &amp; Welling 2014, eq. 10)." in text
    assert str(run.parents[2]) not in card and "shapes" not in card  # where the data lay is nobody's business
    for kind in ("reconstructions", "samples"):
        newest = max(Run(run).pictures[kind].items())[1]
        assert (run.parents[2] / "shared" / f"{kind}.png").read_bytes() == newest.read_bytes()
        assert f"]({kind}.png)" in text
    (snippet,) = python_blocks(text)
    assert len(snippet.splitlines()) == 5
    found: dict = {}
    exec(snippet, found)
    assert found["again"].shape == (16, 3, 32, 32)
    huggingface_hub = pytest.importorskip("huggingface_hub")
    data = huggingface_hub.ModelCard(card).data
    assert data.license == "apache-2.0" and {each.metric_type for each in data.eval_results} == set(told)


@pytest.mark.slow
def test_figures_of_another_state_are_not_shown(run, monkeypatch):
    monkeypatch.chdir(run.parents[2])
    content = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(content | {"epochs": content["epochs"] + 1}))
    assert call("export", "--out", "other") == 0
    card = (run.parents[2] / "other" / "README.md").read_text()
    assert "There are no figures: the run was tested after 7 epochs, and this is its state after 6." in card
    assert "model-index" not in card
    (run / "results.json").unlink()
    assert call("export", "--out", "untested") == 0
    assert (
        "There are no figures: its run has none: it is not finished, or was not tested."
        in (run.parents[2] / "untested" / "README.md").read_text()
    )


@pytest.mark.parametrize(
    "cls, layout, said, silent",
    [
        (
            DCGAN,
            "nhwc",
            ["`z` (codes, float32 (B, 5)) to `x` (pictures, uint8 (B, H, W, C))", "p(z) uniform on"],
            ["float32 (B, C"],
        ),
        (
            VAE,
            None,
            [
                "`x` (pictures, float32 (B, C, H, W) in [0, 1]) to `mean`, `stddev`, for batches",
                "from the prior: p(z) = N(0, I).",
                "may copy training pictures: `vae-zoo memorised`",
            ],
            ["uint8"],
        ),
        (
            SketchRNN,
            None,
            ["`x` (sketches, float32 (B, T, 5))", "may copy training sketches."],
            ["memorised", "picture"],
        ),
    ],
)
def test_the_card_says_what_programs_take_and_give(cls, layout, said, silent, tmp_path):
    pytest.importorskip("onnx")
    export(small(cls).eval(), tmp_path / "out", ["onnx"], uint8=layout)
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(each in card for each in said) and not any(each in card for each in silent)


@pytest.mark.slow
def test_each_kind_is_exported_and_its_card_loads_it(runs, monkeypatch):
    monkeypatch.chdir(runs)
    for path in sorted(runs.iterdir()):
        assert call("export", "--ckpt_path", path / "checkpoints" / "last.ckpt", "--out", f"{path.name}_out") == 0
        (snippet,) = python_blocks((runs / f"{path.name}_out" / "README.md").read_text())
        exec(snippet, {})


MARKUP = "a|b`c``<script>alert(1)</script>\n\n# x [y](http://z) \x1b[31m ![p](q.png)"


def test_names_of_the_run_are_no_markup(tmp_path):
    model = small(models_that(takes="labels").args[1][0], labels=3).eval()
    export(model, tmp_path / "out", labels=[MARKUP, "---\nlicense: evil", "ok"], name="me/<b>x</b>\n# y")
    header, text = front_matter((tmp_path / "out" / "README.md").read_text())
    assert "license" not in header
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    assert "\n# x" not in text and "\n# y" not in text and "\x1b" not in text and "<b>" not in text
    row = next(line for line in text.splitlines() if "alert" in line)
    assert re.sub(r"\\\|", "", row).count("|") == 4 and "```" in row  # three cells, each one code span
    assert read(tmp_path / "out")["callbacks"]["Evaluation"]["labels"][0] == MARKUP
