"""Settings: which are equal, and which two trainings must share."""

import pytest

from tests.run_folders import class_of, made_run
from vae_zoo.errors import UserError
from vae_zoo.settings import arguments, class_name, conditions, differences, nearest, read


@pytest.mark.parametrize(
    "ours, theirs, found",
    [
        ({"a": 1}, {"b": 2}, []),  # only where both say something
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": "1e-3"}, {"a": 0.001}, []),  # yaml reads 1e-3 as a string
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, [("a.b.c", 1, 2)]),
        ({"a": class_of("x.y.Gaussian", sigma=1.0)}, {"a": "Gaussian"}, []),
        ({"a": class_of("x.y.Gaussian")}, {"a": class_of("z.Gaussian")}, []),  # an exported class has two paths
        ({"a": None}, {"a": class_of("AdamW")}, [("a", None, class_of("AdamW"))]),
        ({"a": [1, 2]}, {"a": [1, 2.0]}, []),
        ({"a": [1, 2]}, {"a": [1, 3]}, [("a.1", 2, 3)]),
        ({"a": [1, 2]}, {"a": [1]}, [("a", [1, 2], [1])]),
        ({"a": [class_of("x.MSE")]}, {"a": [class_of("y.MSE")]}, []),
        ({"a": [class_of("NLL", k=1)]}, {"a": [class_of("NLL", k=2)]}, [("a.0.init_args.k", 1, 2)]),
    ],
)
def test_differences(ours, theirs, found):
    assert list(differences(ours, theirs)) == found
    assert [(name, b, a) for name, a, b in differences(theirs, ours)] == found


def test_what_identical_conditions_fix(tmp_path):
    config = made_run(tmp_path, "base").config
    config["data"]["init_args"]["workers"] = 3
    fixed = conditions(config)
    shared = {f"model.{name}" for name in ("latent", "encoder", "decoder", "likelihood", "lr", "optimizer")}
    assert {*shared, "model.lr_scheduler", "data.image_size", "trainer.precision", "evaluation.metrics"} < fixed.keys()
    assert not {"model.beta", "data.workers", "trainer.max_epochs", "seed_everything"} & fixed.keys()
    assert "model.beta" in conditions(config, whole=True)
    assert fixed["data"] == "COCODataModule" and fixed["compile"] is False


def test_names_of_classes():
    assert class_name("a.b.C") == class_name("C") == class_name({"class_path": "a.C"}) == "C"
    assert class_name(None) is class_name({}) is class_name(1.0) is None
    assert arguments({"model": None}, "model") == arguments({}, "model") == {}


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "there is no configuration file"),
        ("", "it holds no settings"),
        ("a: [", "is not a configuration file"),
        (b"\xff\xfe\x00", "is not a configuration file"),
    ],
)
def test_files_that_are_no_settings(content, message, tmp_path):
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        read(path)


def test_the_nearest_name():
    assert nearest("sed", ["seeds", "out"]) == "; did you mean 'seeds'?"
    assert nearest("xyz", (name for name in ("seeds", "out"))) == "; there are out, seeds"
