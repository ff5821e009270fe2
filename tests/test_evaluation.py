"""What results.json says, and where a figure shows up: one's own measure, an objective's, a model's."""

import re
from collections import defaultdict

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.data_sets import images, module
from tests.running import data_for, fit, fitting, one_that, read_results, run_test
from tests.test_distances import Colour
from tests.zoo import JOINT, every_model, small
from vae_zoo import objectives
from vae_zoo.callbacks import Evaluation, RunFolder
from vae_zoo.cli.options import Parser
from vae_zoo.conditional import parts
from vae_zoo.errors import UserError
from vae_zoo.flows import IAFStep
from vae_zoo.metrics import DEFAULTS, FID, KID, MSE, NLL, Measure, ModelFigure
from vae_zoo.models import LatentVariableModel
from vae_zoo.networks import Network
from vae_zoo.results import NO_FIGURES

LATENT = one_that(LatentVariableModel, pixels=True, conditional=False)
FIGURES = {
    *("mse", "mse_sampled", "mse_of_mean_image", "explained_variance", "psnr", "ssim", "code_mmd"),
    *("elbo", "kl", "kl_share", "active_units", "nll", "bits_per_dim"),
}
KEYS = FIGURES | set(
    "model traits reasons nll_samples parameters parts shape epochs seed split_sha256 timing environment "
    "git_revision".split()
)


@pytest.mark.slow
@every_model
def test_each_figure_is_a_number_or_has_a_reason(cls, shapes, doodles, tmp_path):
    data = data_for(cls, shapes, doodles)
    model = fitting(cls, data)
    results = run_test(model, data, tmp_path, nll_samples=2)
    assert results.keys() >= KEYS
    figures = {name: value for name, value in results.items() if name not in NO_FIGURES}
    reasons = results["reasons"]
    for name, value in figures.items():
        assert isinstance(value, (int, float)) != (name in reasons), name
    assert reasons.keys() <= figures.keys()
    for reason in reasons.values():  # the end of a sentence that begins with "n/a: ", and no name of a class or figure
        assert re.fullmatch(r"[a-z][^\n]{10,90}[a-z0-9]", reason), reason
    assert results["traits"] == {name: getattr(model, name) for name in results["traits"]}
    assert results["model"] == cls.__name__ and results["shape"] == list(data.facts.shape)


def test_results_say_what_they_are_of(shapes, tmp_path):
    data = module(shapes)
    model = fitting(JOINT, data)
    results = run_test(model, data, tmp_path)
    assert results["split_sha256"] == data.split_sha256
    assert results["parameters"] == sum(p.numel() for p in model.parameters()) and results["parts"] == parts(model)
    assert results["environment"]["cores"] >= 1 and results["environment"]["torch"] == torch.__version__.split("+")[0]
    assert results["epochs"] == 0 and results["timing"]["epoch_seconds"] == []


@every_model
def test_parts_are_counted_each_parameter_once(cls):
    model = small(cls)
    counted = parts(model)
    assert sum(counted.values()) == sum(p.numel() for p in model.parameters())
    named: dict = defaultdict(torch.nn.ModuleList)  # two stages may have networks of one name
    for name, each in model.named_modules():
        if isinstance(each, Network):
            named[name.rpartition(".")[2]].append(each)
    flow = [each for each in model.modules() if isinstance(each, IAFStep)]
    named |= {"flow": torch.nn.ModuleList(flow)} if flow else {}
    assert named or not model.pixels
    for name, part in named.items():
        assert counted[name] == sum(p.numel() for p in part.parameters()), name
    if model.encodes and model.pixels:
        rest = counted.keys() - named.keys()
        assert rest == ({"labels"} if model.conditional else set())


def test_results_stand_in_the_order_of_the_list(shapes, tmp_path):
    data = module(shapes)
    results = run_test(fitting(JOINT, data), data, tmp_path)
    listed = [measure().name for measure in DEFAULTS]
    assert [name for name in results if name in listed] == listed


# --- a measure of one's own


class Brightness(Measure):
    """The mean brightnesses of all images, added up, and more; it needs no model and no codes."""

    name = "brightness"
    in_validation = True

    def __init__(self, plus: float = 0.0):
        super().__init__()
        self.plus = plus
        self.add_state("found", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, model, x, y, evaluated):
        assert not model.training and not torch.is_grad_enabled()
        self.found += x.mean((1, 2, 3)).sum()

    def compute(self):
        return self.found.item() + self.plus


def parsed(text):
    """The `Evaluation` that the command makes of this part of a yaml."""
    parser = Parser()
    parser.add_lightning_class_args(Evaluation, "evaluation")
    return parser.instantiate(parser.parse_string(text)).evaluation


LISTED = f"""
evaluation:
  nll_samples: 4
  metrics:
    - MSE
    - class_path: NLL
      init_args: {{samples: 9}}
    - class_path: vae_zoo.metrics.SSIM
    - class_path: {__name__}.Brightness
      init_args: {{plus: 2}}
"""


def test_a_yaml_lists_short_names_and_class_paths():
    made = parsed(LISTED)
    assert [measure.name for measure in made.measures] == ["mse", "nll", "ssim", "brightness"]
    assert made.measures[1].samples == 9 and made.measures[3].plus == 2
    default = parsed("evaluation: {nll_samples: 4}")
    assert [type(measure) for measure in default.measures] == list(DEFAULTS)
    assert [measure.samples for measure in default.measures if isinstance(measure, NLL)] == [4]


def test_short_forms_of_distances_join_the_list():
    given = f"{{class_path: {Colour.__module__}.Colour, init_args: {{scale: 2}}}}"
    made = parsed(f"evaluation: {{fid: true, kid: true, features: {given}, metrics: [MSE]}}")
    mse, *distances = made.measures
    assert isinstance(mse, MSE) and [type(measure) for measure in distances] == [FID, KID]
    assert all(isinstance(measure.features, Colour) and measure.features.scale == 2 for measure in distances)


@pytest.mark.parametrize("given", ["[Mse]", "[torch.nn.Linear]", "MSE", "[{class_path: NLL, init_args: {draws: 3}}]"])
def test_what_is_no_list_of_measures(given):
    with pytest.raises(Exception, match="metrics"):
        parsed(f"evaluation: {{metrics: {given}}}")


def scalars(folder):
    """By tag, the values in the TensorBoard events of a folder and those below."""
    found = {}
    for file in folder.rglob("events.out.tfevents*"):
        events = EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend(event.value for event in events.Scalars(tag))
    return found


@pytest.mark.slow
def test_ones_own_measure_is_in_results_validation_and_tensorboard(shapes, tmp_path):
    data, evaluation = module(shapes), parsed(LISTED)
    model = fitting(JOINT, data)
    callbacks = evaluation, RunFolder(tmp_path)
    trained = fit(tmp_path, *callbacks, model=model, data=data, epochs=2, logger=tensorboard(tmp_path))
    truth = {part: images(data, part)[0].mean((1, 2, 3)).sum().item() for part in ("val", "test")}
    trained.test(model, datamodule=data, verbose=False)
    assert read_results(tmp_path)["brightness"] == pytest.approx(truth["test"] + 2)
    logged = scalars(tmp_path)
    assert logged["val/brightness"] == pytest.approx([truth["val"] + 2] * 2)  # of two epochs, begun anew
    assert logged["test/brightness"] == pytest.approx([truth["test"] + 2])
    assert logged["test/mse"] and not [tag for tag in logged if tag.startswith("val/nll")]


def tensorboard(folder):
    return TensorBoardLogger(str(folder), "", "", default_hp_metric=False)


class Further(LATENT):
    """An objective with a further figure: 10 times the squared mean of the aggregate posterior is paid for."""

    def objective(self, trace):
        aggregate = trace.z.mean((0, 1)).square().sum()
        return objectives.elbo(trace) - 10 * aggregate, {"aggregate": aggregate.expand(len(trace.x))}


@pytest.mark.slow
def test_a_further_figure_of_an_objective_is_everywhere(shapes, tmp_path):
    data = module(shapes)
    model = fitting(Further, data)
    callbacks = Evaluation(metrics=[MSE()]), RunFolder(tmp_path)
    settings = {"logger": tensorboard(tmp_path), "log_every_n_steps": 1}
    trained = fit(tmp_path, *callbacks, model=model, data=data, epochs=2, **settings)
    trained.test(model, datamodule=data, verbose=False)
    results, logged = read_results(tmp_path), scalars(tmp_path)
    assert results["aggregate"] > 0 and results["reasons"] == {}
    assert logged["test/aggregate"] == pytest.approx([results["aggregate"]])
    assert len(logged["val/aggregate"]) == 2 and len(logged["train/aggregate"]) == 6
    assert not results.keys() & {"elbo", "kl", "mse_sampled"}  # these have measures, which the list leaves out


# --- what is refused


def test_two_measures_of_one_name_are_refused():
    with pytest.raises(UserError, match="evaluation.metrics: names must be unique; brightness appears twice"):
        Evaluation(metrics=[Brightness(), MSE(), Brightness(1.0)])
    with pytest.raises(UserError, match="fid appears twice"):
        Evaluation(metrics=[FID(Colour())], fid=True, features=Colour())


@pytest.mark.parametrize("name", ["seed", "reasons", "timing"])
def test_a_figure_called_like_another_key_is_refused(name, shapes, tmp_path):
    data = module(shapes)
    with pytest.raises(UserError, match=f"a figure cannot be called '{name}', which is another key of results.json"):
        run_test(fitting(JOINT, data), data, tmp_path, metrics=[ModelFigure(name)])
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_null_and_has_a_reason(value, shapes, tmp_path):
    data = module(shapes)
    model = fitting(LATENT, data)
    with torch.no_grad():
        next(model.likelihood.parameters()).fill_(value)
    metrics = [*(measure() for measure in DEFAULTS), Brightness(value)]
    results = run_test(model, data, tmp_path, nll_samples=2, metrics=metrics)
    for name in ("mse", "explained_variance", "psnr", "ssim", "elbo", "nll", "brightness"):
        assert results[name] is None and results["reasons"][name] == "diverged", name
    assert results["mse_of_mean_image"] > 0 and results["kl"] > 0  # which do not decode


def test_a_measure_that_no_figure_is_given_to_says_so(shapes, tmp_path):
    data = module(shapes)
    results = run_test(fitting(JOINT, data), data, tmp_path, metrics=[ModelFigure("sharpness")])
    assert results["sharpness"] is None and results["reasons"]["sharpness"] == "it was not measured"
