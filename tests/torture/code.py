"""Code that would run from a found config.yaml, from a checkpoint, or from a file of data; none may."""

import io
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import vae_zoo
from tests.torture.generate import changed, dice, places
from tests.torture.harness import Case, Place
from tests.torture.templates import MODELS, fit, saved, trained
from vae_zoo import data

EVIL = "import pathlib\npathlib.Path({canary!r}).touch()\ndef run(*_, **__): pathlib.Path({canary!r}).touch()\nclass E: pass\n"


def evil(place: Place) -> None:
    """A module of this name in the current folder, as somebody else's archive may bring one."""
    for name in ("evilmod.py", "mynet/__init__.py"):
        path = place.work / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(EVIL.format(canary=str(place.canary)))


def call(path: str, **arguments: Any) -> dict[str, Any]:
    """A class path that is called."""
    return {"class_path": path, "init_args": arguments}


def payload(canary: Path, dice_: random.Random) -> Any:
    """What runs a command where a class is made of it, at any depth."""
    touch = f"touch {canary}"  # as one text: jsonargparse makes one of a list
    popen = call("subprocess.Popen", args=touch, shell=True)
    value = dice_.choice(
        [
            popen,
            call("subprocess.getoutput", cmd=touch),
            call("os.system", command=touch),
            call("builtins.exec", source=f"open({str(canary)!r}, 'w')"),
            call("pathlib.Path.touch", self=str(canary)),
            call("evilmod.E"),
            call("mynet.E"),
            call("runpy.run_path", path_name="evilmod.py"),
            call("importlib.import_module", name="evilmod"),
            "evilmod.E",
            "evilmod.run",
            "mynet.run",
            {"class_path": "evilmod.run"},
            {"class_path": "evilmod", "init_args": {}},
        ]
    )
    for _ in range(dice_.choice([0, 0, 1, 1, 2, 5])):
        value = dice_.choice(
            [
                call("unittest.mock.Mock", return_value=value),
                call("unittest.mock.Mock", side_effect=value),
                call("functools.partial", func=value),
                call("torch.nn.Linear", in_features=1, out_features=1, device=value),
                call("torch.nn.Sequential", args=[value]),
                call("lightning.pytorch.callbacks.LambdaCallback", setup=value, on_fit_start=value),
                call("vae_zoo.networks.ConvEncoder", width=value),
                call("torch.optim.Adam", lr=value),
                [value],
                {"x": value},
            ]
        )
    return value


# Where a class may be named in a config.yaml; the last of each path is set.
SECTIONS = [
    *(
        (("trainer", key))
        for key in ("callbacks", "logger", "plugins", "strategy", "profiler", "accelerator", "max_epochs")
    ),
    *((("evaluation", key)) for key in ("features", "metrics", "nll_samples")),
    *(
        (("model", "init_args", key))
        for key in ("encoder", "decoder", "likelihood", "prior", "optimizer", "lr_scheduler", "lr")
    ),
    *((("data", "init_args", key)) for key in ("augment", "root", "n_train")),
    *(
        ((key,))
        for key in ("model", "data", "trainer", "images", "evaluation", "seed_everything", "compile", "ckpt_path", "x")
    ),
]
COMMANDS = ("test", "validate", "predict", "probe", "sample", "reconstruct", "interpolate", "report")


def found_config(what: str, edit: Callable[[Place, dict[str, Any]], Any], command: str, *more: str) -> Case:
    """A config.yaml beside a checkpoint, that a command finds."""

    def act(place: Place) -> None:
        checkpoint = trained(place)
        evil(place)
        path = place.work / "run" / "config.yaml"
        settings = edit(place, yaml.safe_load(path.read_text()))
        path.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings))
        where = ["."] if command == "report" else ["--ckpt_path", checkpoint]
        place.zoo(command, *where, *more)

    return Case(f"config.yaml with {what}, {command}", act)


def at(path: tuple, value: Callable[[Place], Any]) -> Callable[[Place, dict[str, Any]], Any]:
    return lambda place, tree: changed(tree, path, lambda node, key: node.__setitem__(key, value(place)))


def drawn(number: int) -> Case:
    dice_ = dice("code", number)
    path, command = SECTIONS[number % len(SECTIONS)], dice_.choice(COMMANDS)
    value = at(path, lambda place: payload(place.canary, dice_))
    more = ["--trust", "vae_zoo"] if dice_.random() < 0.1 else []
    return found_config(f"a payload in {'.'.join(path)}", value, command, *more)


def python_tag(tag: str) -> Case:
    def edit(place: Place, tree: Any) -> str:
        return yaml.safe_dump(tree) + f"\nx: !!python/object/apply:{tag} ['touch {place.canary}']\n"

    return found_config(f"a tag of {tag}", edit, "test")


class Runs:
    """Pickled, it calls a function where it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.how = function, arguments

    def __reduce__(self) -> tuple:
        return self.how


def bomb(place: Place, dice_: random.Random) -> Runs:
    touch = f"touch {place.canary}"
    return dice_.choice(
        [
            Runs(os.system, touch),
            Runs(eval, f"open({str(place.canary)!r}, 'w')"),
            Runs(exec, f"import os; os.system({touch!r})"),
        ]
    )


def hyper_parameters(number: int) -> Case:
    """A checkpoint whose hyper-parameters name code."""
    dice_ = dice("hyper_parameters", number)
    name = MODELS[number % len(MODELS)]

    def act(place: Place) -> None:
        checkpoint, content = trained(place, name), saved(name)
        evil(place)
        given = content["hyper_parameters"]
        if (kind := dice_.randrange(4)) == 0:
            given["_class_path"] = dice_.choice(
                ["evilmod.E", "mynet.E", "evilmod.run", "os.system", "subprocess.Popen"]
            )
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

    return Case(f"hyper-parameters of {name} with a payload", act)


def pickled_checkpoint(number: int) -> Case:
    """A checkpoint that is, or has in it, a pickle that runs a command."""
    dice_ = dice("pickles", number)

    def act(place: Place) -> None:
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

    return Case("a checkpoint with a pickle", act)


def pickled_data(number: int) -> Case:
    """A file of data with a pickle that runs a command, for each data module that reads one."""
    dice_ = dice("pickled data", number)
    cls = ("Sketches", "BinarizedMNIST", "DynamicMNIST", "FreyFaces")[number % 4]

    def act(place: Place) -> None:
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

        def use() -> None:
            made = getattr(data, cls)(str(path))
            made.setup()

        place.load(use)

    return Case(f"{cls} of a pickle", act)


def cases(count: int) -> list[Case]:
    """What is named in the issue, then payloads in any place."""

    def popen(place: Place) -> dict[str, Any]:
        return call("subprocess.Popen", args=f"touch {place.canary}", shell=True)

    mock = at(("evaluation", "features"), lambda place: call("unittest.mock.Mock", return_value=popen(place)))
    lambda_ = at(
        ("trainer", "callbacks"), lambda place: [call("lightning.pytorch.callbacks.LambdaCallback", setup=call("unittest.mock.Mock", side_effect=popen(place)))]
    )
    linear = at(
        ("evaluation", "features"),
        lambda place: call("torch.nn.Linear", in_features=1, out_features=1, device=popen(place)),
    )
    found = [
        found_config(what, edit, command)
        for what, edit in (
            ("a Mock that returns a Popen", mock),
            ("a LambdaCallback", lambda_),
            ("a Linear on a Popen", linear),
        )
        for command in ("test", "validate", "predict")
    ]
    found += [python_tag(tag) for tag in ("os.system", "subprocess.getoutput", "evilmod.run")]
    number = 0
    while len(found) < count:
        found += [drawn(2 * number), drawn(2 * number + 1)]
        found += [hyper_parameters(number), pickled_checkpoint(number), pickled_data(number)]
        number += 1
    return found[:count]
