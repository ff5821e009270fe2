"""Yamls that a user names, and command lines: values of a wrong kind, too large, doubled, endless."""

import math
from typing import Any

import yaml

from tests.torture.generate import damage_file, dice, examples, mutated
from tests.torture.harness import Case, Place, expect
from tests.torture.templates import MODELS, config, fit, template, trained, words

NEVER = [-1, -5, math.nan, "x", "[1]"]  # what hardly any number may be
# Options of fit with values that no training has; each must be refused.
REFUSED: dict[str, list[Any]] = {
    **{f"trainer.{name}": NEVER for name in ("log_every_n_steps", "gradient_clip_val")},
    **{
        f"trainer.{name}": [0, *NEVER, 1.5]
        for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "devices")
    },
    "trainer.val_check_interval": [-1, -0.5, math.nan, 5, 1000, "x"],
    "trainer.precision": [64, 16, 8, "64-true", "16-true", "x", -1],
    "trainer.max_epochs": [-5, math.nan, "x", 1.5],
    "trainer.max_steps": [-5, math.nan, "x"],
    "trainer.accelerator": ["x", "gpu", "tpu", 5],
    "trainer.strategy": ["x", "fsdp", 5],
    "trainer.limit_train_batches": [-1, -0.5, 1.5, math.nan],
    "trainer.max_time": ["x", -1],
    "seed_everything": [-1, -(2**40), 2**32, 2**63, 2**64, 10**30, math.nan, "x", 1.5],
    **{f"data.{name}": ["null", 0, *NEVER, 10**12, 10**30, 1.5] for name in ("n_train", "n_test", "batch_size")},
    "data.n_val": [*NEVER, 10**12],
    "data.image_size": ["null", 0, *NEVER, 7, "[0,16]", "[16]", "[16,16,16]", 1.5],
    "data.channels": [0, 2, 4, *NEVER],
    "data.root": ["/nonexistent", "", "a\0b", "/dev/null", "/dev/zero", "x" * 5000, "~nobody/x"],
    "data.categories": ["x", "[x]", "[1]", "{}"],
    "data.max_unreadable": [*NEVER, 2],
    "data.seed": [-1, 10**30, "x"],
    "data.workers": [*NEVER],
    "model.latent": [0, *NEVER, 1.5],
    "model.lr": [0, *NEVER, math.inf],
    "model.beta": [*NEVER, math.inf],
    "model.samples": [0, *NEVER],
    "model.encoder.depth": [0, *NEVER, 9],
    "model.encoder.width": [0, *NEVER],
    "model.likelihood": ["x", "Gaussian(", 5, "[1]", "vae_zoo.likelihoods", "os.system"],
    "model.optimizer": ["x", "SGD(", "os.system", 5],
    "evaluation.nll_samples": [0, *NEVER],
    "evaluation.metrics": ["x", "[x]", "[5]", "[[MSE]]", "[os.system]"],
    "images.columns": [0, *NEVER],
    "images.epochs": ["x", "[x]", "[1.5]"],
    "run_dir": ["/", "/proc/x", "/dev/null", "a\0b", "x" * 5000, "/dev/null/x"],
    "config": ["", "/", "nothing.yaml", "a\0b", "/dev/null", "x" * 5000],
    "ckpt_path": ["nothing.ckpt", "", "/", "a\0b", "/dev/null"],
    "compile": ["x", 5, "null"],
}
# Those of the other commands, with a trained model.
OTHERS: dict[str, dict[str, list[Any]]] = {
    "sample": {"n": [0, *NEVER, 1.5], "columns": [0, *NEVER], "seed": ["x", 2**70, 1.5], "label": ["x", 99], "temperature": [-1, "x", math.nan, 1], "out": ["/", "a\0b.png", "x.jpg", "/proc/x.png", "/dev/null/x.png", "x" * 5000 + ".png", "x.svg"], "ckpt_path": ["nothing.ckpt", "/", "a\0b", "/dev/null", "run"]},
    "reconstruct": {"n": [0, *NEVER], "images": ["nothing.png", "/", "a\0b", "run/config.yaml", "/dev/null"], "columns": [0, -1], "out": ["/", "x.gif"]},
    "interpolate": {"n": [0, *NEVER], "columns": [0, 1, -1], "images": ["nothing.png", "run"]},
    "probe": {"few": [0, 1, *NEVER], "draws": [0, *NEVER], "c": [0, *NEVER, math.inf], "max_iter": [0, *NEVER], "batch_size": [0, *NEVER], "seed": [-1, "x", 2**70]},
    "test": {"run_dir": ["/", "nothing", "a\0b"], "evaluation.nll_samples": [0, -1], "data.root": ["/nonexistent"], "trainer.devices": [0, -1, "x"]},
    "predict": {"run_dir": ["/", "nothing"], "data.batch_size": [0, -1, "null"]},
    "report": {"base": ["x", "", "\0"]},
    "data shapes": {"n": [0, *NEVER], "seed": ["x", -1, 1.5], "out": ["/dev/null/x", "a\0b"]},
    "data sketches": {"n": [0, *NEVER], "seed": ["x", -1, 1.5], "out": ["/", "/dev/null/x", "a\0b"]},
    "data coco": {"n": [0, -1], "jobs": [0, -1], "url": ["x", "", "file:///etc", "http://", "ftp://127.0.0.1:9", "https://127.0.0.1:9"]},
    "compare": {"seeds": [-1, "x", 1.5], "epochs": [0, -1, "x"], "jobs": [0, -1], "configs": ["nothing", "vae vae"], "likelihoods": ["x", "../../../x", "/x", "..", "Gaussian Gaussian"], "base": ["x"], "out": ["/dev/null", "a\0b"]},
    "benchmark": {"seconds": [0, *NEVER]},
}  # fmt: skip
MAY = {("sample", "temperature", 1), ("probe", "seed", -1), ("data shapes", "seed", -1), ("data sketches", "seed", -1)}
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
)
BASE = "model: {class_path: VAE}\n"
# Texts of a yaml, each of which must be refused.
TEXTS: dict[str, str | bytes] = {
    "nested anchors that grow": BOMB,
    "nested anchors that grow, in the model": BOMB + "\nmodel: *a11\n",
    "nested anchors that grow, of mappings": "a0: &a0 {x: 1}\n" + "\n".join(f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(9))}}}" for i in range(1, 12)),
    "merge keys that grow": "a0: &a0 {x: 1}\n" + "\n".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 9)),
    "a recursive anchor": "model: &x {class_path: VAE, init_args: *x}\n",
    "a recursive list": "trainer: {callbacks: &x [*x]}\n",
    "a recursive anchor of its own": "x: &x\n  y: *x\n",
    "deep nesting": "model: " + "[" * 3000 + "]" * 3000,
    "deep mappings": "model: " + "{a: " * 2000 + "}" * 2000,
    "two model sections": BASE + "data: {class_path: COCODataModule}\nmodel: {class_path: AE}\n",
    "two keys alike": "trainer: {max_epochs: 1, max_epochs: 2}\n",
    "two keys alike far down": "model: {class_path: VAE, init_args: {encoder: {class_path: ConvEncoder, init_args: {width: 4, width: 8}}}}\n",
    "no content": "", "a list": "[1, 2]", "a text": "vae", "null": "null", "a tab": "model:\n\tclass_path: VAE\n",
    "bytes": b"\xff\xfe\x00\x80model", "NUL": b"model: \0", "a tag of a function": "model: !!python/object/apply:os.system ['true']\n",
    "two documents": BASE + "---\n" + BASE, "an unknown anchor": "model: *x\n",
    **{f"{key}: {value}": f"{key}: {value}\n" for key in ("trainer", "images", "evaluation", "model", "data") for value in ("null", "5", "[1]", "x", "true")},
    "class_path: 5": "model: {class_path: 5}\n", "init_args: [1]": "model: {class_path: VAE, init_args: [1]}\n",
    "an integer as a key": BASE + "5: 6\n", "an integer as a key in the model": "model: {class_path: VAE, init_args: {5: 6}}\n",
    "null as a key": "null: 1\n", "a list as a key": "? [1, 2]\n: 3\n", "a date": "trainer: {max_epochs: 2020-01-01}\n",
}  # fmt: skip
MAY_TEXT = {
    "trainer: null",
    "images: null",
    "evaluation: null",
    "no content",
    "null",
    "data: null",
    "model: null",
    "trainer: x",
}


def text(what: str, content: str | bytes) -> Case:
    """A yaml of this text, before a whole one on the command line."""

    def act(place: Place) -> None:
        path = place.work / "given.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        done = place.zoo(
            "fit", "--config", "vae", "--config", path, *words("vae"), "--trainer.max_epochs", 1, "--run_dir", "run"
        )
        expect(done.status or what in MAY_TEXT, f"a yaml with {what} was taken")

    return Case(f"a yaml with {what}", act)


def option(command: str, name: str, value: Any) -> Case:
    """An option with a value that must be refused."""

    def act(place: Place) -> None:
        place.allowed += ("work/run/*",)
        if command == "fit":
            model = next(each for each in MODELS if takes(each, name))
            done = fit(place, model, "--trainer.max_epochs", 1, *([f"--{name}={value}"]))
        else:
            given = [f"--{name}", *str(value).split(" ")] if value != "" else [f"--{name}="]
            if command.startswith("data"):
                base = ["--out", "made", "--n", 3]
            elif command == "compare":
                base = [
                    "--configs",
                    "vae",
                    "--likelihoods",
                    "Gaussian",
                    "--epochs",
                    1,
                    "--out",
                    "made",
                    "--data.root",
                    template("shapes"),
                ]
            elif command == "benchmark":
                base = ["--config", "vae", *words("vae"), "--no-try"]
            elif command == "report":
                trained(place)
                base = ["."]
            else:
                base = ["--ckpt_path", trained(place)] if name not in ("ckpt_path", "run_dir") else []
            done = place.zoo(*command.split(), *base, *given, clock=20 if command == "data coco" else 1)
        expect(done.status or (command, name, value) in MAY, f"{command} took --{name} {str(value)[:60]}")

    return Case(f"{command} --{name} {str(value)[:60]!r}", act)


def takes(model: str, name: str) -> bool:
    """Whether a model's yaml has an option."""
    section, _, rest = name.partition(".")
    return section not in ("model", "data") or rest.partition(".")[0] in config(model)[section]["init_args"]


def tree(number: int, said: str, content: Any) -> Case:
    """A whole yaml in which something is another; what is taken must train."""
    name = MODELS[number % len(MODELS)]

    def act(place: Place) -> None:
        path = place.work / "given.yaml"
        path.write_text(yaml.safe_dump(content, allow_unicode=True))
        more = ["--trainer.max_epochs", 1, "--trainer.accelerator", "cpu", "--run_dir", "run"]
        more += (
            ["--data.root", template("shapes")]
            if "root" in config(name)["data"]["init_args"]
            else ["--data.path", template("sketches.ndjson")]
        )
        place.zoo("fit", "--config", path, *more, "--trainer.limit_train_batches", 1, "--trainer.limit_val_batches", 1)

    return Case(f"{name}.yaml, {said}", act)


def small(name: str) -> dict[str, Any]:
    """A model's yaml with sizes of seconds."""
    content = config(name)
    options = words(name)
    for option_, value in zip(options[::2], options[1::2], strict=True):
        section, *path = option_[2:].split(".")
        node = content.setdefault(section, {})
        for key in path[:-1]:
            node = node.get("init_args", node)[key]
        if path:
            node = node.get("init_args", node)
            node[path[-1]] = yaml.safe_load(value)
    return content


def bytes_of(number: int) -> Case:
    def act(place: Place) -> None:
        path = place.work / "given.yaml"
        path.write_text(yaml.safe_dump(small("vae")))
        damage_file(path, dice("yaml bytes", number))
        place.zoo("fit", "--config", path, *words("vae"), "--trainer.max_epochs", 1, "--run_dir", "run")

    return Case("a damaged yaml", act)


def cases(count: int) -> list[Case]:
    """Texts and options by name, then generated trees."""
    found = [text(*each) for each in TEXTS.items()]
    options = [option("fit", name, value) for name, values in REFUSED.items() for value in values]
    options += [
        option(command, name, value)
        for command, each in OTHERS.items()
        for name, values in each.items()
        for value in values
    ]
    named = [each for each in options if any(name in each.name for name in NAMED)]
    rest = [each for each in options if each not in named]
    found += named + dice("settings", 0).sample(rest, min(len(rest), count // 3))
    left = count - len(found)
    for number in range(left // 8):
        found.append(bytes_of(number))
    left = count - len(found)
    per_model = {name: iter(examples(mutated(small(name)), left // len(MODELS) + 1, name)) for name in MODELS}
    return found + [tree(n, *next(per_model[MODELS[n % len(MODELS)]])) for n in range(left)]


# What the issue has by name.
NAMED = ("log_every_n_steps -1", "gradient_clip_val -1", "accumulate_grad_batches -1", "accumulate_grad_batches 0", "check_val_every_n_epoch -1", "--run_dir '/'", "n_train 'null'", "seed_everything -1", "seed_everything 18446744073709551616", "devices -1", "precision 64", "val_check_interval 5", "'../../../x'")  # fmt: skip
