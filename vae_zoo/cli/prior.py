"""``vae-zoo prior``: fit a prior to a trained model's codes, and keep the model with it as a run of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from vae_zoo.checkpoints import changed, read
from vae_zoo.cli.pictures import begin, encoder, make_parser, repeated, write_captioned, write_numbers
from vae_zoo.cli.trained import data_of_run, run_of
from vae_zoo.data.module import DataModule
from vae_zoo.errors import UserError, require
from vae_zoo.latent import KINDS, placed, samples_of, strays
from vae_zoo.metrics.codes import code_mmd
from vae_zoo.models import Autoencoder
from vae_zoo.newest import new_run
from vae_zoo.priors import FittedMixture
from vae_zoo.runs import Run
from vae_zoo.settings import parameters_of
from vae_zoo.writing import whole

BATCH = 256
FIGURES = {
    "log_prob": "log p(z) of test codes",
    "code_mmd": "code MMD",
    "pixel_mmd": "MMD of samples in pixels",
    "stray": "share of stray samples",
}


def run(arguments: Sequence[str]) -> None:
    """Fit, measure before and after, and write the run, the picture and the numbers."""
    text = "Fit a prior to the codes of a trained model, and keep the model with it as a run of its own."
    parser = make_parser("prior", text, 8, "samples to show", columns=None)
    parser.add_argument("--kind", choices=KINDS, default="mixture", help="of prior (default %(default)s)")
    parser.add_argument("--components", type=int, help="of a mixture (default 10)")
    parser.add_argument("--run_dir", type=Path, help="of the model with it (default: runs/NAME_KIND/version_N)")
    options = parser.parse_args(arguments)
    require(1, components=options.components, optional=True)
    if options.components and options.kind != "mixture":
        raise UserError(f"--components {options.components}: these are of a mixture, and --kind is {options.kind}")
    given, checkpoint, label = begin(options)
    model = encoder(given, "have a prior fitted to its codes")
    if "prior" not in {parameter.name for parameter in parameters_of(type(model))}:
        raise UserError(f"{type(model).__name__} takes no prior, so none that is fitted can be kept with it")
    if model.prior(repeated(0, 1) if model.labels else None).batch_shape:
        raise UserError(
            f"the prior of this {type(model).__name__} depends on the label, and one that is fitted does not"
        )
    why = "the prior is fitted to the codes of its training data"
    source = run_of(checkpoint, why)
    if options.run_dir:
        Run(options.run_dir).refuse_foreign()
        if Run(options.run_dir).exists:
            raise UserError(f"run_dir {options.run_dir} has a run in it; give another folder")
    data = data_of_run(checkpoint, model, why, options.trust)
    pictures = torch.cat([x for x, _ in data.batches("test", BATCH)])
    train, test = (torch.from_numpy(placed(model, data.batches(part, BATCH))[1]) for part in ("train", "test"))
    chosen = {"components": options.components} if options.components else {}
    fitted = KINDS[options.kind](train, **chosen, seed=options.seed)
    before, rows = type(model.prior).__name__, []
    measures = {}
    for name, prior in ((before, model.prior), (options.kind, fitted)):
        model.prior = prior
        torch.manual_seed(options.seed)
        rows.append((name, model.pictures(model.sample(options.n, repeated(label, options.n)))))
        measures[name] = _measured(model, test, pictures, data)
    target = Run(options.run_dir) if options.run_dir else new_run(f"{source.name}_{options.kind}")
    _keep(model, checkpoint, source, target)
    write_captioned(rows, options.out)
    codes = {"train": len(train), "test": len(test)}
    numbers = {"model": type(model).__name__, "kind": options.kind, "codes": codes, "measures": measures}
    write_numbers(options.out, "prior", numbers)
    print(f"{'':24} {before:>16} {options.kind:>16}")
    for figure, said in FIGURES.items():
        if figure in measures[before]:
            print(f"{said:24} {measures[before][figure]:16.4g} {measures[options.kind][figure]:16.4g}")
    print(f"wrote {target.checkpoint()}, the newest run now: vae-zoo sample draws from the fitted prior")


def _measured(model: Autoencoder, codes: Tensor, test: Tensor, data: DataModule) -> dict[str, float]:
    """What a prior is like beside draws of the codes (N, D) of test pictures, and its samples beside these."""
    drawn = torch.cat([model.sample_prior(min(BATCH, len(codes) - i)).flatten(1) for i in range(0, len(codes), BATCH)])
    with torch.no_grad():
        log_p = torch.cat([model.prior().log_prob(part) for part in codes.split(BATCH)])
    found = {"log_prob": float(log_p.double().mean()), "code_mmd": code_mmd(codes.flatten(1), drawn)}
    if model.pixels:
        found["pixel_mmd"] = code_mmd(test.flatten(1), samples_of(model, len(test)).flatten(1))
        found["stray"], _ = strays(model, (x for x, _ in data.batches("train", BATCH)), test)
    return found


def _keep(model: Autoencoder, checkpoint: Path, source: Run, target: Run) -> None:
    """Write the run of a model whose prior was replaced: the settings, the split, and the checkpoint."""
    init_args = {"components": len(model.prior.logits)} if isinstance(model.prior, FittedMixture) else {}
    prior = {"class_path": f"{type(model.prior).__module__}.{type(model.prior).__name__}", "init_args": init_args}
    config: dict[str, Any] = {**source.config, "run_dir": None, "ckpt_path": None}
    config["model"]["init_args"] = {**config["model"].get("init_args", {}), "prior": prior}
    with whole(target.config_file) as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False))
    if source.split_file.is_file():
        with whole(target.split_file) as temporary:
            temporary.write_bytes(source.split_file.read_bytes())
    with whole(target.checkpoint()) as temporary:
        torch.save(changed(read(checkpoint), model.state_dict(), prior=prior), temporary)
