"""Run folders as `fit` and `test` leave them, written with figures that are known, without any training."""

import csv
import json
import math
from copy import deepcopy

import yaml
from PIL import Image

from vae_zoo.compare.comparison import Comparison
from vae_zoo.runs import Run
from vae_zoo.settings import read

# By configuration: test MSE, seconds per epoch, and the traits that are not as most models have them.
MODELS = {
    "floor": (0.015, 9.0, {"density": False, "regularised": False}),
    "base": (0.024, 10.0, {}),
    "slow": (0.023, 30.0, {}),
    "flow": (0.0245, 11.0, {}),
    "sharp": (0.016, 14.0, {"density": False}),
}
TRAITS = {"density": True, "conditional": False, "regularised": True, "encodes": True, "pixels": True}


def class_of(path, **init_args):
    return {"class_path": path, "init_args": init_args}


CONFIG = {
    "model": class_of(
        "",
        latent=64,
        encoder=class_of("vae_zoo.networks.ConvEncoder", width=32, depth=4),
        decoder=class_of("vae_zoo.networks.ConvDecoder", width=32, depth=4),
        likelihood=class_of("vae_zoo.likelihoods.Gaussian", sigma=1.0),
        beta=1.0,
        lr=1e-3,
        optimizer=None,
        lr_scheduler=None,
    ),
    "data": class_of("vae_zoo.data.COCODataModule", root="data/shapes", image_size=64, batch_size=64, n_val=None),
    "trainer": {"max_epochs": 6, "accelerator": "cpu", "precision": "32-true"},
    "images": {"epochs": [0, 5]},
    "evaluation": {"nll_samples": 100, "metrics": [class_of("vae_zoo.metrics.MSE"), class_of("vae_zoo.metrics.NLL")]},
    "compile": False,
}


def change_setting(config, path, value):
    """`value` at ``data.image_size``, which stands in the `init_args` of its section."""
    *sections, last = path.split(".")
    for key in sections:
        config = config[key]
        config = config.get("init_args", config)
    config[last] = value


def made_run(
    root, name, seed=0, setting="Gaussian", epochs=6, mse=None, curve=True, change=(), figures=(), traits=(), **results
):
    """A run folder; `change` are settings by path, `figures`, `traits` and `results` go to results.json."""
    run = Run(root / setting / name / f"seed_{seed}")
    run.picture("", 0).parent.mkdir(parents=True)
    config = deepcopy(CONFIG)
    config["model"]["class_path"] = name.title()
    if setting != "Gaussian":
        config["model"]["init_args"]["likelihood"] = class_of(f"vae_zoo.likelihoods.{setting}")
    config |= {"seed_everything": seed}
    for path, value in ({"trainer.max_epochs": epochs} | dict(change)).items():
        change_setting(config, path, value)
    run.config_file.write_text(yaml.safe_dump(config))
    usual, seconds, own = MODELS[name]
    final = usual + 1e-4 * seed if mse is None else mse
    traits = TRAITS | own | dict(traits)
    measured = {"mse": final, "mse_sampled": 1.1 * final, "psnr": -10 * math.log10(final), "ssim": 0.3}
    measured |= {"code_mmd": 0.01, "active_units": 60.0, "bits_per_dim": None}
    dense = {"elbo": -700.0, "kl": 40.0, "kl_share": 5.0, "nll": 690.0 + seed}
    measured |= dense if traits["density"] else dict.fromkeys(dense)
    reasons = {"bits_per_dim": "only for 8-bit pixels"}
    reasons |= {} if traits["density"] else dict.fromkeys(dense, "it has no density")
    run.write_results(
        {
            "model": name.title(),
            "traits": traits,
            "figures": measured | dict(figures),
            "reasons": reasons,
            **{"nll_samples": 100, "parameters": 1000, "shape": [3, 16, 16], "epochs": epochs, "seed": seed},
            **{"split_sha256": "abc", "git_revision": "1234", "environment": {"torch": "2", "device": "cpu"}},
            "timing": {
                "seconds_per_epoch": seconds,
                "images_per_second": 1000 / seconds,
                "data_wait_share": 0.01,
                "peak_memory_mb": 900.0,
                "train_seconds": seconds * epochs,
            },
            **results,
        }
    )
    run.write_split({"train": [1, 2], "test": [3]}, "abc", 1.0)
    with open(run.metrics_file, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "timing/train_seconds", "train/loss", "val/mse"])
        for epoch in range(epochs):
            writer.writerows([[epoch, 16 * epoch + i, "", 1.0, ""] for i in range(16)])
            seen = final * (1 + (epochs - 1 - epoch) / 10)
            writer.writerow([epoch, 16 * epoch + 15, "", "", seen if curve else ""])
            writer.writerow([epoch, 16 * epoch + 15, seconds * (epoch + 1), "", ""])
    for kind, colour in (("reconstructions", "red"), ("samples", "blue")):
        for epoch in (0, 5, epochs):
            Image.new("RGB", (8 * 18 + 2, 4 * 18 + 2), colour).save(run.picture(kind, epoch))
    return run


def change_results(run, **changes):
    """Other keys in a run's results.json, of whichever sort; None removes one."""
    content = json.loads(run.results_file.read_text()) | changes
    run.results_file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def compared(root, seeds=3, claims=()):
    """Five models, some seeds, and a comparison.yaml."""
    for name in MODELS:
        for seed in range(seeds):
            made_run(root, name, seed)
    Comparison(tuple(MODELS), "base", claims).write(root)
    return root


def resolve(config, options):
    """What `fit` makes of a yaml and options, as far as these tests go."""
    resolved = read(config)
    for option in options:
        name, value = option.removeprefix("--").split("=", 1)
        change_setting(resolved, name, yaml.safe_load(value))
    return resolved
