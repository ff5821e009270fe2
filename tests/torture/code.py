"""Code that would run from a found config.yaml, from a checkpoint, or from a file of data; none may."""

import io
import os
import pickle
import zipfile

import numpy as np
import torch
import yaml

import vae_zoo
from tests.torture.generate import changed, dice, places
from tests.torture.harness import case
from tests.torture.templates import MODELS, fit, saved, trained
from vae_zoo import data

EVIL = "open({canary!r}, 'w')\ndef run(*_, **__): open({canary!r}, 'w')\nclass E: pass\n"


def evil(place):
    """A module of this name in the current folder, as somebody else's archive may bring one."""
    for name in ("evilmod.py", "mynet/__init__.py"):
        path = place.work / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(EVIL.format(canary=str(place.canary)))


# What runs a command where a class is made of it, each a yaml.
PAYLOADS = """
{class_path: subprocess.Popen, init_args: {args: touch CANARY, shell: true}}
{class_path: subprocess.getoutput, init_args: {cmd: touch CANARY}}
{class_path: os.system, init_args: {command: touch CANARY}}
{class_path: builtins.exec, init_args: {source: "open('CANARY', 'w')"}}
{class_path: pathlib.Path.touch, init_args: {self: CANARY}}
{class_path: runpy.run_path, init_args: {path_name: evilmod.py}}
{class_path: importlib.import_module, init_args: {name: evilmod}}
{class_path: evilmod.E}
{class_path: mynet.E}
{class_path: evilmod.run}
{class_path: evilmod, init_args: {}}
evilmod.E
evilmod.run
mynet.run
""".strip().splitlines()
# What it may be hidden in.
AROUND = """
{class_path: unittest.mock.Mock, init_args: {return_value: VALUE}}
{class_path: unittest.mock.Mock, init_args: {side_effect: VALUE}}
{class_path: functools.partial, init_args: {func: VALUE}}
{class_path: torch.nn.Linear, init_args: {in_features: 1, out_features: 1, device: VALUE}}
{class_path: torch.nn.Sequential, init_args: {args: [VALUE]}}
{class_path: lightning.pytorch.callbacks.LambdaCallback, init_args: {setup: VALUE, on_fit_start: VALUE}}
{class_path: vae_zoo.networks.ConvEncoder, init_args: {width: VALUE}}
{class_path: torch.optim.Adam, init_args: {lr: VALUE}}
[VALUE]
{x: VALUE}
""".strip().splitlines()


def payload(canary, dice_):
    """One of them, at any depth."""
    text = dice_.choice(PAYLOADS)
    for _ in range(dice_.choice([0, 0, 1, 1, 2, 5])):
        text = dice_.choice(AROUND).replace("VALUE", text)
    return yaml.safe_load(text.replace("CANARY", str(canary)))


# Where a class may be named in a config.yaml.
MODEL, DATA = "model.init_args.", "data.init_args."
SECTIONS = [
    path.split(".")
    for path in (
        "trainer.callbacks trainer.logger trainer.plugins trainer.strategy trainer.profiler trainer.accelerator "
        f"evaluation.features evaluation.metrics evaluation.nll_samples {MODEL}encoder {MODEL}decoder "
        f"{MODEL}likelihood {MODEL}prior {MODEL}optimizer {MODEL}lr_scheduler {MODEL}lr "
        f"{DATA}augment {DATA}root {DATA}n_train "
        "model data trainer images evaluation seed_everything compile ckpt_path x"
    ).split()
]
FEATURES = ["evaluation", "features"]
COMMANDS = ("test", "validate", "predict", "probe", "sample", "reconstruct", "interpolate", "report")


@case
def found_config(place, what, edit, command, *more):
    """A config.yaml beside a checkpoint, that a command finds."""
    checkpoint = trained(place)
    evil(place)
    path = place.work / "run" / "config.yaml"
    settings = edit(place, yaml.safe_load(path.read_text()))
    path.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings))
    where = ["."] if command == "report" else ["--ckpt_path", checkpoint]
    place.zoo(command, *where, *more)


def at(path, value):
    return lambda place, tree: changed(tree, path, lambda node, key: node.__setitem__(key, value(place)))


def drawn(number):
    dice_ = dice("code", number)
    path, command = SECTIONS[number % len(SECTIONS)], dice_.choice(COMMANDS)
    value = at(path, lambda place: payload(place.canary, dice_))
    more = ["--trust", "vae_zoo"] if dice_.random() < 0.1 else []
    return found_config(f"a payload in {'.'.join(path)}", value, command, *more)


def python_tag(tag):
    def edit(place, tree):
        return yaml.safe_dump(tree) + f"\nx: !!python/object/apply:{tag} ['touch {place.canary}']\n"

    return found_config(f"a tag of {tag}", edit, "test")


class Runs:
    """Pickled, it calls a function where it is unpickled."""

    def __init__(self, function, *arguments):
        self.how = function, arguments

    def __reduce__(self):
        return self.how


def bomb(place, dice_):
    touch = f"touch {place.canary}"
    return dice_.choice(
        [
            Runs(os.system, touch),
            Runs(eval, f"open({str(place.canary)!r}, 'w')"),
            Runs(exec, f"import os; os.system({touch!r})"),
        ]
    )


@case
def missing_module(place, name, command):
    """A folder with a module that libraries ask for, and make do without."""
    (place.work / f"{name}.py").write_text(EVIL.format(canary=str(place.canary)))
    if command == "fit":
        fit(place, "vae")
    else:
        place.zoo(command, "--ckpt_path", trained(place))


@case
def hyper_parameters(place, number):
    """A checkpoint whose hyper-parameters name code."""
    dice_ = dice("hyper_parameters", number)
    name = MODELS[number % len(MODELS)]
    checkpoint, content = trained(place, name), saved(name)
    evil(place)
    given = content["hyper_parameters"]
    if (kind := dice_.randrange(4)) == 0:
        given["_class_path"] = dice_.choice(["evilmod.E", "mynet.E", "evilmod.run", "os.system", "subprocess.Popen"])
    elif kind == 1:
        given["_instantiator"] = dice_.choice(
            ["evilmod.run", "os.system", "subprocess.call", "evilmod.E", "builtins.exec"]
        )
        given["args"] = given["command"] = f"touch {place.canary}"
    else:
        path = dice_.choice([path for path in places(given) if not str(path[0]).startswith("_")])
        content["hyper_parameters"] = changed(
            given, path, lambda node, key: node.__setitem__(key, payload(place.canary, dice_))
        )
    torch.save(content, checkpoint)
    os.chdir(place.work)  # where a notebook beside it would be
    place.load(lambda: vae_zoo.load(checkpoint))
    place.zoo(dice_.choice(["sample", "test", "probe", "validate"]), "--ckpt_path", checkpoint)


@case
def pickled_checkpoint(place, number):
    """A checkpoint that is, or has in it, a pickle that runs a command."""
    dice_ = dice("pickles", number)
    checkpoint, content = trained(place), saved()
    runs, kind = bomb(place, dice_), dice_.randrange(5)
    if kind == 0:
        checkpoint.write_bytes(pickle.dumps(runs, protocol=dice_.randrange(6)))
    elif kind == 1:
        torch.save(runs, checkpoint, _use_new_zipfile_serialization=dice_.random() < 0.5)
    elif kind == 2:
        with zipfile.ZipFile(checkpoint) as whole:
            members = {name: whole.read(name) for name in whole.namelist()}
        with zipfile.ZipFile(checkpoint, "w") as changed_:
            for name, content_ in members.items():
                changed_.writestr(name, pickle.dumps(runs, protocol=2) if name.endswith("data.pkl") else content_)
    else:
        path = dice_.choice(list(places(content)))
        torch.save(changed(content, path, lambda node, key: node.__setitem__(key, runs)), checkpoint)
    place.load(lambda: vae_zoo.load(checkpoint))
    if (command := dice_.choice(["sample", "test", "fit"])) == "fit":
        fit(place, "vae", "--ckpt_path", "auto", "--trainer.max_epochs", 3)
    else:
        place.zoo(command, "--ckpt_path", checkpoint)


@case
def pickled_data(place, number):
    """A file of data with a pickle that runs a command, for each data module that reads one."""
    dice_ = dice("pickled data", number)
    cls = ("Sketches", "BinarizedMNIST", "DynamicMNIST", "FreyFaces")[number % 4]
    getattr(data, cls)  # an older checkout may have none
    runs = np.empty(3, object)
    runs[:] = [bomb(place, dice_), np.ones((4, 3), np.int16), None]
    names = {"Sketches": ("train", "valid", "test"), "BinarizedMNIST": ("train", "valid", "test")}.get(
        cls, ("train_images", "train_labels", "test_images", "test_labels")
    )
    path = place.work / ("data.npy" if cls == "FreyFaces" else "data.npz")
    kind, evil_name = dice_.randrange(3), dice_.choice(names)
    buffer = io.BytesIO()
    if kind == 0:
        np.save(buffer, runs, allow_pickle=True)
    elif kind == 1:
        pickle.dump(runs[0], buffer, protocol=dice_.randrange(6))
    else:  # a header that is an expression
        code = f"__import__('os').system('touch {place.canary}')".ljust(117) + "\n"
        buffer.write(b"\x93NUMPY\x01\x00" + len(code).to_bytes(2, "little") + code.encode())
    if path.suffix == ".npy":
        path.write_bytes(buffer.getvalue())
    else:
        good = {name: np.zeros((40, 98), np.uint8) for name in names}
        np.savez(path, **{name: array for name, array in good.items() if name != evil_name})
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(f"{evil_name}.npy", buffer.getvalue())

    def use():
        made = getattr(data, cls)(str(path))
        made.setup()

    place.load(use)


def cases(count):
    """What is named in the issue, then payloads in any place."""

    found = [
        found_config(
            what, at(path, lambda place, text=text: yaml.safe_load(text.replace("CANARY", str(place.canary)))), command
        )
        for what, path, text in (
            ("a Mock that returns a Popen", FEATURES, AROUND[0].replace("VALUE", PAYLOADS[0])),
            (
                "a LambdaCallback",
                SECTIONS[0],
                f"[{AROUND[5].replace('VALUE', AROUND[1]).replace('VALUE', PAYLOADS[0])}]",
            ),
            ("a Linear on a Popen", FEATURES, AROUND[3].replace("VALUE", PAYLOADS[0])),
        )
        for command in ("test", "validate", "predict")
    ]
    found += [
        found_config(
            f"a key with dots, {key}",
            lambda place, tree, path=path, key=key: changed(
                tree, path, lambda node, name: node[name].__setitem__(key, "evilmod.run")
            ),
            command,
        )
        for path, key in ((["evaluation"], "features.class_path"), (["model", "init_args"], "encoder.class_path"))
        for command in ("test", "probe")
    ]
    found += [
        missing_module(name, command)
        for name in ("tensorflow", "boto3", "omegaconf", "ruamel")
        for command in ("fit", "test", "probe")
    ]
    found += [python_tag(tag) for tag in ("os.system", "subprocess.getoutput", "evilmod.run")]
    number = 0
    while len(found) < count:
        found += [drawn(2 * number), drawn(2 * number + 1)]
        found += [hyper_parameters(number), pickled_checkpoint(number), pickled_data(number)]
        number += 1
    return found[:count]
