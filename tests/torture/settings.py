"""Yamls that a user names, and command lines: values of a wrong kind, too large, doubled, endless."""

import yaml

from tests.torture.generate import damage_file, dice, mutants
from tests.torture.harness import case, expect, guarded
from tests.torture.templates import MODELS, config, fit, template, trained, words

# A command, options of it, and values that they cannot have. NO is what hardly any number may be, 0+ that and 0.
OPTIONS = r"""
fit: trainer.log_every_n_steps trainer.gradient_clip_val data.workers data.max_unreadable model.beta: NO
fit: trainer.accumulate_grad_batches trainer.check_val_every_n_epoch trainer.devices: 0+ 1.5
fit: trainer.val_check_interval: -1 -0.5 nan 5 1000 x
fit: trainer.precision: 64 8 64-true 16-true x -1
fit: trainer.max_epochs trainer.max_steps: -5 nan x 1.5
fit: trainer.accelerator trainer.strategy: x gpu fsdp 5
fit: trainer.limit_train_batches: -1 -0.5 1.5 nan
fit: seed_everything: -1 -1099511627776 4294967296 9223372036854775808 18446744073709551616 1e30 nan x 1.5
fit: data.n_train data.n_test data.batch_size: null 0+ 1000000000000 1000000000000000000000000000000 1.5
fit: data.n_val data.seed: -1 x nan 1.5
fit: data.image_size: null 0+ 7 [0,16] [16] [16,16,16] 1.5
fit: data.channels: 0+ 2 4
fit: data.root: /nonexistent EMPTY NUL /dev/null /dev/zero LONG ~nobody/x
fit: data.categories: x [x] [1] {}
fit: model.latent model.samples model.encoder.width model.encoder.depth model.lr images.columns: 0+
fit: evaluation.nll_samples: NO
fit: model.likelihood: x Gaussian( 5 [1] vae_zoo.likelihoods os.system
fit: model.optimizer evaluation.metrics: x [x] [5] os.system
fit: images.epochs: x [x] [1.5]
fit: run_dir: / /proc/x /dev/null NUL LONG /dev/null/x
fit: config: EMPTY / nothing.yaml NUL /dev/null LONG
fit: ckpt_path: nothing.ckpt EMPTY / NUL /dev/null
fit: compile: x 5
sample reconstruct interpolate: n columns: 0+
sample reconstruct: out: / NUL x.jpg /proc/x.png /dev/null/x.png LONG x.svg
sample: seed: x 1180591620717411303424 1.5
sample: label: x 99
sample: temperature: -1 x nan
sample test probe: ckpt_path: nothing.ckpt / NUL /dev/null run
reconstruct interpolate: images: nothing.png NUL run/config.yaml /dev/null
probe: few draws c max_iter batch_size: 0+
test predict validate: run_dir: / nothing NUL
test: evaluation.nll_samples: -1 x
test: trainer.devices: 0 -1 x
predict: data.batch_size: 0 -1 null
report: base: x EMPTY NUL
data-shapes data-sketches: n: 0+
data-shapes data-sketches: out: /dev/null/x NUL
data-coco: n jobs: 0 -1
data-coco: url: x EMPTY file:///etc http:// ftp://127.0.0.1:9 https://127.0.0.1:9
compare: seeds epochs jobs: -1 x 1.5
compare: likelihoods configs base: x ../../../x /x .. EMPTY
compare: out: /dev/null NUL
benchmark: seconds: 0+
"""
SHORT = {"NO": "-1 -5 nan x [1]", "0+": "0 -1 -5 nan x [1]"}
SPELT = {"EMPTY": "", "NUL": "a\0b", "LONG": "x" * 5000}
# What the issue has by name.
NAMED = "steps -1, clip_val -1, grad_batches -1, grad_batches 0, n_epoch -1, run_dir /, n_train null, everything -1"
NAMED += ", everything 18446744073709551616, devices -1, precision 64, interval 5, likelihoods ../../../x"


def grown(first, link, join):
    """A yaml of a few hundred bytes that stands for more than any memory has."""
    lines = [f"a{i}: &a{i} {join(', '.join(link.format(n=n, before=i - 1) for n in range(9)))}" for i in range(1, 12)]
    return "\n".join([f"a0: &a0 {first}", *lines])


# Texts of a yaml that is given after a whole one, each of which must be refused.
TEXTS = {
    "nested anchors that grow": grown("[x]", "*a{before}", "[{}]".format),
    "nested anchors that grow, in the model": grown("[x]", "*a{before}", "[{}]".format) + "\nmodel: *a11\n",
    "nested anchors of mappings": grown("{x: 1}", "k{n}: *a{before}", "{{{}}}".format),
    "merge keys that grow": grown("{x: 1}", "*a{before}", "{{<<: [{}]}}".format),
    "a recursive anchor": "model: &x {class_path: VAE, init_args: *x}\n",
    "a recursive list": "trainer: {callbacks: &x [*x]}\n",
    "a recursive anchor of its own": "x: &x\n  y: *x\n",
    "deep nesting": "model: " + "[" * 3000 + "]" * 3000,
    "deep mappings": "model: " + "{a: " * 2000 + "}" * 2000,
    "two model sections": "model: {class_path: VAE}\ndata: {class_path: COCODataModule}\nmodel: {class_path: AE}\n",
    "two keys alike": "trainer: {max_epochs: 1, max_epochs: 2}\n",
    "two keys alike far down": "model: {class_path: VAE, init_args: {encoder: {init_args: {width: 4, width: 8}}}}\n",
    "bytes": b"\xff\xfe\x00\x80model",
    "NUL": b"model: \0",
}
# Shorter ones, which are their own names.
TEXTS |= {
    text.strip(): text.strip()
    for text in """[1, 2] | vae | model:\n\tx: y | x: !!python/object/apply:os.system ['true'] | --- a\n--- b
    | model: *x | model: {class_path: 5} | model: {class_path: VAE, init_args: [1]} | 5: 6 | model: {init_args: {5: 6}}
    | null: 1 | ? [1, 2]\n: 3 | trainer: {max_epochs: 2020-01-01} | trainer: {callbacks: 5}""".split("| ")
}
TEXTS |= {
    f"{key}: {value}": f"{key}: {value}" for key in ("trainer", "images", "model", "data") for value in ("5", "[1]")
}
# And some that may be taken for nothing.
EITHER = {"": "", "null": "null"} | {f"{key}: null": f"{key}: null" for key in ("trainer", "images", "model", "data")}


@case
def text(place, what):
    path, content = place.work / "given.yaml", (TEXTS | EITHER)[what]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    more = [*words("vae"), "--trainer.max_epochs", 1, "--run_dir", "run"]
    done = place.zoo("fit", "--config", "vae", "--config", path, *more)
    expect(done.status or what in EITHER, f"a yaml with {what} was taken")


@case
def option(place, command, name, spelt):
    """An option with a value that must be refused."""
    if spelt == "/" and not guarded():
        return
    value = SPELT.get(spelt, spelt)
    base = {
        "data": lambda: ["--out", "made", "--n", 3],
        "compare": lambda: ["--configs", "vae", "--epochs", 1, "--out", "made", "--data.root", template("shapes")],
        "benchmark": lambda: ["--config", "vae", *words("vae"), "--no-try"],
        "report": lambda: trained(place) and ["."],
    }.get(command.partition("-")[0], lambda: [] if name == "run_dir" else ["--ckpt_path", trained(place)])
    if command == "fit":
        model = next(each for each in MODELS if takes(each, name))
        done = fit(place, model, "--trainer.max_epochs", 1, f"--{name}={value}")
    else:
        done = place.zoo(*command.split("-"), *base(), f"--{name}={value}", clock=20 if "coco" in command else 1)
    expect(done.status, f"{command} took --{name} {spelt}")


def options():
    """All options with their values."""
    for line in OPTIONS.strip().splitlines():
        commands, names, values = line.split(": ")
        spelt = " ".join(SHORT.get(value, value) for value in values.split()).split()
        for command in commands.split():
            for name in names.split():
                yield from (option(command, name, value) for value in spelt)


def takes(model, name):
    """Whether a model's yaml has an option."""
    section, _, rest = name.partition(".")
    return section not in ("model", "data") or rest.partition(".")[0] in config(model)[section]["init_args"]


def small(name):
    """A model's yaml with sizes of seconds."""
    content, given = config(name), words(name)
    for option_, value in zip(given[::2], given[1::2], strict=True):
        *path, last = option_[2:].split(".")
        node = content
        for key in path:
            node = node.get("init_args", node)[key]
        node.get("init_args", node)[last] = yaml.safe_load(value)
    return content


@case
def whole(place, name, what, write):
    """A whole yaml in which something is another; what is taken must train."""
    write(place.work / "given.yaml")
    more = [f"--trainer.{limit}={n}" for limit, n in (("max_epochs", 1), ("limit_train_batches", 1))]
    data = ["--data.path", template("sketches.ndjson")] if "sketch" in name else ["--data.root", template("shapes")]
    place.zoo("fit", "--config", "given.yaml", *data, *more, "--trainer.accelerator", "cpu", "--run_dir", "run")


def damaged(number):
    def write(path):
        path.write_text(yaml.safe_dump(small("vae")))
        damage_file(path, dice("yaml bytes", number))

    return whole("vae", "damaged", write)


def cases(count):
    """Texts and options by name, then others of them, damaged yamls, and generated trees."""
    found = [text(what) for what in TEXTS | EITHER]
    every = list(options())
    named = [each for each in every if each.name.endswith(tuple(NAMED.split(", ")))]
    rest = [each for each in every if each not in named]
    found += named + dice("settings", 0).sample(rest, count // 3)
    found += [damaged(number) for number in range(count // 10)]
    left = count - len(found)
    trees = {name: iter(mutants(small(name), left // len(MODELS) + 1, name)) for name in MODELS}
    for number in range(left):
        name = MODELS[number % len(MODELS)]
        said, tree = next(trees[name])
        found.append(whole(name, said, lambda path, tree=tree: path.write_text(yaml.safe_dump(tree))))
    return found
