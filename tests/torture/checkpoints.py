"""Checkpoints that are damaged, incomplete, of another model, or of weights that are no numbers."""

import math
from typing import Any

import torch

import vae_zoo
from tests.torture.generate import JUNK, damage_file, dice, examples, places
from tests.torture.harness import case, expect, words_of
from tests.torture.templates import IMAGES, MODELS, config, fit, saved, template, trained

Saved = dict[str, Any]


def same(place, checkpoint, good, told=""):
    """Load a checkpoint; where that says nothing, weights and hyper-parameters must be these."""

    def use():
        model = vae_zoo.load(checkpoint)
        state = model.state_dict()
        for key, tensor in good["state_dict"].items():
            there = torch.as_tensor(tensor).to_dense().to(state[key].dtype)
            expect(torch.equal(state[key], there), f"{key} is another, and nothing was said")
        for key, value in good["hyper_parameters"].items():
            if not key.startswith("_") and isinstance(value, (int, float, str, tuple, list, bool)):
                there = model.hparams.get(key)
                expect(repr(there) == repr(value), f"{key} is {there!r}, not {value!r}, and nothing was said")

    done = place.load(use)
    expect(done.status or not told or told.lower() in done.said.lower(), f"nothing was said of {told}")


@case
def damaged(place, name, number):
    random_ = dice("checkpoints", number)
    checkpoint = trained(place, name)
    damage_file(checkpoint, random_)
    same(place, checkpoint, saved(name))
    if random_.random() < 0.3:
        picture = place.work / ("out.png" if name in IMAGES else "out.svg")
        done = place.zoo("sample", "--ckpt_path", checkpoint, "--out", picture, "--n", 8)
        expect(done.status == 0 or not picture.exists(), "a picture was written after an error")


@case
def edited(place, what, name, edit, *command, refused=False):
    """A checkpoint that was changed and saved again, then loaded, or used by a command."""
    checkpoint = trained(place, name)
    content = saved(name)
    told = edit(content)
    torch.save(content, checkpoint)
    if not command:
        return same(place, checkpoint, content, told or "")
    if command[0] == "fit":
        done = fit(place, name, "--ckpt_path", "auto", "--trainer.max_epochs", 3)
    else:
        done = place.zoo(*command, "--ckpt_path", checkpoint)
    expect(not refused or done.status or "warning" in words_of(done.said), f"{command[0]} took {what}")


def drop(*path):
    """Remove a key."""

    def edit(content):
        for key in path[:-1]:
            content = content[key]
        content.pop(path[-1], None)
        return path[-1] if path[0] == "hyper_parameters" else ""

    return edit


def weights(change, which):
    """Change one tensor; None removes it."""

    def edit(content):
        state = content["state_dict"]
        key = which.choice([key for key, tensor in state.items() if tensor.is_floating_point() and tensor.numel()])
        new = change(state[key].clone())
        state.pop(key) if new is None else state.update({key: new})

    return edit


def junk(value, which):
    """Put a value of any kind where another should be, outside the tensors."""

    def edit(content):
        rest = {key: below for key, below in content.items() if key not in ("state_dict", "optimizer_states")}
        path = which.choice(list(places(rest)))
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return edit


def no_numbers(value, everywhere, which):
    def change(tensor):
        tensor[(...,) if everywhere else tuple(which.randrange(size) for size in tensor.shape)] = value
        return tensor

    return weights(change, which)


@case
def resaved(place, value, command, name):
    """Weights that are no numbers, with a checksum that fits, where there is one."""
    checkpoint = trained(place, name)
    content = saved(name)
    next(iter(content["state_dict"].values())).fill_(value)
    if "checksum" in content:
        from vae_zoo.checkpoints import checksum

        content["checksum"] = checksum(content)
    torch.save(content, checkpoint)
    done = place.zoo(command, "--ckpt_path", checkpoint)
    expect(done.status, f"{command} took weights that are {value}")


def shared(levels):
    """A list of lists, which holds 10^levels values in the memory of a few."""
    return [shared(levels - 1)] * 10 if levels else 0


KEYS = "state_dict hyper_parameters epoch global_step loops callbacks optimizer_states lr_schedulers".split()
FORMS = {
    "no tensor": lambda tensor: None,
    "a tensor of float64": lambda tensor: tensor.double(),
    "a tensor of float16": lambda tensor: tensor.half(),
    "a tensor of integers": lambda tensor: tensor.to(torch.int64),
    "a tensor of another shape": lambda tensor: tensor.flatten()[1:],
    "a complex tensor": lambda tensor: tensor.to(torch.complex64),
    "a sparse tensor": lambda tensor: tensor.to_sparse(),
    "a list for a tensor": lambda tensor: tensor.tolist(),
}


def exchanged(name, other):
    def edit(content):
        content["state_dict"] = saved(other)["state_dict"]

    return edited(f"the weights of {other}", name, edit)


def another_class(name, other):
    def edit(content):
        content["hyper_parameters"]["_class_path"] = saved(other)["hyper_parameters"]["_class_path"]

    return edited(f"the class {other}", name, edit, "sample", refused=False)


def arguments(name):
    """The hyper-parameters that a model's yaml names."""
    return [*config(name)["model"]["init_args"]]


@case
def odd(place, what, make):
    checkpoint = trained(place)
    checkpoint.unlink()
    make(checkpoint)
    for done in (place.load(lambda: vae_zoo.load(checkpoint)), place.zoo("test", "--ckpt_path", checkpoint)):
        expect(done.status, f"{what} was taken for a checkpoint")


def cases(count):
    """Named ones, each key and hyper-parameter missing, then damages."""
    found = [
        resaved(value, command, "vae") for value in (math.nan, math.inf) for command in ("test", "sample", "probe")
    ]
    found += [resaved(math.nan, "sample", name) for name in MODELS if name != "vae"]
    found += [
        odd("a folder", lambda path: path.mkdir()),
        odd("a text", lambda path: path.write_text("no checkpoint")),
        odd("an empty file", lambda path: path.touch()),
        odd("a picture", lambda path: path.write_bytes(next(template("shapes/images").iterdir()).read_bytes())),
        odd("a tensor", lambda path: torch.save(torch.zeros(3), path)),
        odd("a list", lambda path: torch.save([1, 2], path)),
        odd("an empty dict", lambda path: torch.save({}, path)),
    ]
    for command in ((), ("test",), ("fit",)):
        found += [edited(f"no {key}", "vae", drop(key), *command) for key in KEYS]
    for name in MODELS:
        which = dice("hyper_parameters", MODELS.index(name))
        found += [
            edited(f"no hyper-parameter {key}", name, drop("hyper_parameters", key))
            for key in which.sample(arguments(name), 4)
        ]
    for what, change in FORMS.items():
        for name in ("vae", "dcgan"):
            found.append(edited(what, name, weights(change, dice(what, 0))))
    found += [
        edited(what, "vae", lambda content, given=given: content["hyper_parameters"].update(given), *command)
        for command in (("sample",), ("test",), ("fit",))
        for what, given in {
            "a list of lists that is shared": {"encoder": shared(9)},
            "a list of a million": {"shape": [3] * 10**6},
            "a code of a billion": {"latent": 10**9},
            "a depth of a billion": {
                "encoder": {"class_path": "vae_zoo.networks.MLPEncoder", "init_args": {"width": 1, "depth": 10**9}}
            },
        }.items()
    ]
    found += [exchanged(a, b) for a, b in (("vae", "ae"), ("iwae", "vae"), ("aae", "ae"), ("cvae", "vae"))]
    found += [another_class(a, b) for a, b in (("vae", "iwae"), ("ae", "aae"), ("dcgan", "vae"), ("vae", "sketch_rnn"))]
    for number, value in enumerate(examples(JUNK, 60)):
        command = [(), ("test",), ("sample",), ("fit",)][number % 4]
        edit = junk(value, dice("junk", number))
        name = MODELS[number % len(MODELS)]
        found.append(edited(f"{str(value)[:40]!r} somewhere", name, edit, *command))
    for number in range(16):
        edit = no_numbers([math.nan, math.inf][number % 2], number % 3 == 0, dice("nan", number))
        command = ("test", "sample", "probe", "sample")[number % 4]
        found.append(
            edited(
                "weights that are no numbers",
                "vae" if command == "probe" else MODELS[number % len(MODELS)],
                edit,
                command,
                refused=True,
            )
        )
    return found + [damaged(MODELS[n % len(MODELS)], n) for n in range(count - len(found))]
