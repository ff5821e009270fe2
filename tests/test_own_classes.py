"""What a user's own class is told, when it cannot be used."""

import json
import sys

import pytest

from tests.conftest import call

MODULE = """
from torch import nn

class Plain(nn.Module):
    pass
"""


@pytest.mark.parametrize(
    "words, message",
    [
        (["--model.encoder", "own.Plain"], "own.Plain is not a vae_zoo.networks.Network; derive it from that"),
        (["--model.encoder", "own.Plane"], "model.encoder: own has no Plane; did you mean 'Plain'?"),
        (["--model", "nowhere.Model"], "nowhere.Model cannot be imported: ModuleNotFoundError: No module named"),
        (["--model", "broken.Model"], "broken.Model cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_why_a_class_cannot_be_used(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "own", raising=False)
    (tmp_path / "own.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    assert call("fit", "--config", "vae", *words) == 2
    assert message in capsys.readouterr().err


def test_what_a_class_needs_is_asked_for_below_its_own_key(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--model.lr_scheduler", "torch.optim.lr_scheduler.CosineAnnealingLR"]
    assert call("fit", "--config", "vae", *words) == 2
    assert "required: T_max; give it as --model.lr_scheduler.T_max" in capsys.readouterr().err


def test_a_list_that_is_longer_than_a_files_name_is_a_list(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    metrics = [
        f"vae_zoo.metrics.{name}"
        for name in "MSE PSNR SSIM KL ELBO NLL FID KID MSESampled MSEOfMeanImage CodeMMD".split()
    ]
    assert len(json.dumps(metrics)) > 255
    given = ["fit", "--config", "vae", "--data.root", "nowhere", "--evaluation.metrics", json.dumps(metrics)]
    assert call(*given) == 1
    assert "nowhere" in (said := capsys.readouterr().err) and "too long" not in said
