"""Settings: which are equal, and which two trainings must share."""

from inspect import isclass

import pytest

from tests.run_folders import class_of, made_run
from vae_zoo import callbacks
from vae_zoo.callbacks.pictures import EpochPictures
from vae_zoo.errors import UserError
from vae_zoo.settings import DRAWING, arguments, class_name, conditions, differences, nearest, read


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


def test_callbacks_that_draw_are_no_condition(tmp_path):
    """The yamls of models that take labels have a grid of them, and are to be compared with the others."""
    config = made_run(tmp_path, "base").config
    found = []
    for names in (None, ["LabelGrid"], ["vae_zoo.callbacks.Drawings", "LabelGrid"], ["BurdaSchedule", "LabelGrid"]):
        config["trainer"]["callbacks"] = names and [{"class_path": name} for name in names]
        found.append(conditions(config)["trainer.callbacks"])
    assert found == [None, None, None, [{"class_path": "BurdaSchedule"}]]
    assert config["trainer"]["callbacks"][1:] == [{"class_path": "LabelGrid"}]  # the settings themselves stay


def test_each_callback_that_draws_is_known_to_be_one():
    """By name, for the settings of a run that is found are compared, and its classes are not imported."""
    drawing = {name for name, each in vars(callbacks).items() if isclass(each) and issubclass(each, EpochPictures)}
    assert drawing == DRAWING


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


GROWING = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "content, message",
    [
        (GROWING, "more than 10000 values once its anchors are expanded"),
        ("a: &a [1, *a]", "line 1: a.1 holds itself"),
        ("a: &a {b: {c: *a}}", "line 1: a.b.c holds itself"),
        ("[" * 2000, "nested too deeply"),
        ("model: VAE\ndata: x\nmodel: AE", "line 3: there is a second model; keep one of them"),
        ("model: {init_args: {lr: 1, lr: 2}}", "there is a second model.init_args.lr"),
        ("model: {5: 1}", "model.5 is a key that is no text; quote it"),
        ("null: 1", "null is a key that is no text"),
        ("[a]: 1", "a key that is no text"),
        ("model: {class_path: 5}", "line 1: model.class_path must be the name of a class"),
        ("model: {class_path: [VAE]}", "model.class_path must be the name of a class"),
        ("model: {class_path: VAE, init_args: [1]}", "model.init_args must be a mapping"),
        ("trainer: null", "trainer has no value; leave it out"),
        ("trainer: [1]", "trainer must have settings below it, got .1."),
        ("images:", "images has no value; leave it out"),
        ("model: 5", "model must have settings below it, got 5"),
        ("a: 2024-13-45", "month must be in 1..12"),
        (f"a: {10**400}", "line 1: a 10+... is too large a number"),
    ],
)
def test_settings_that_do_not_mean_what_they_say(content, message, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as refused:
        read(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_anchors_merged_keys_and_mappings_of_numbers_are_settings(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\ntrainer: {k: {init_args: {s: {0: 1, 4: 2}}}}")
    found = read(path)
    assert found["b"] == {"x": 1, "y": 3} and found["c"] == [{"x": 1, "y": 2}] * 2
    assert found["trainer"]["k"]["init_args"]["s"] == {0: 1, 4: 2}
