"""What all categories draw from: one generator for each case, damaged bytes, and values of any wrong kind."""

import math
import os
import random
from copy import deepcopy
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings, strategies

SEED = int(os.environ.get("TORTURE_SEED", 0))
T = TypeVar("T")

# What may stand in a yaml or a JSON file where something else should.
JUNK = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.integers(-5, 5),
    strategies.sampled_from([-(2**63), 2**31, 2**63, 2**64, 10**30, -1e300, 1e300, math.inf, -math.inf, math.nan, 0.5]),
    strategies.text(max_size=6),
    strategies.sampled_from(["a\0b", "../x", "/", "null", "nan", "1e3", "true", "{", "$x", "\ud83d\ude00", "x" * 5000]),
    strategies.lists(strategies.integers(-1, 3), max_size=3),
    strategies.dictionaries(
        strategies.sampled_from(["class_path", "init_args", "x", "0"]), strategies.integers(), max_size=2
    ),
    strategies.sampled_from(
        [[[[[]]]], {"": {"": {}}}, [None], {"class_path": 5}, {"init_args": [1]}, {"class_path": "x.Y"}]
    ),
)


def dice(category, number):
    """The generator of a case's random numbers."""
    return random.Random(f"{SEED}/{category}/{number}")


def examples(strategy, count, salt=""):
    """Examples of a strategy, the same for the same seed, count and salt."""
    found = []

    @seed(f"{SEED}/{salt}")
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example):
        found.append(example)

    collect()
    return [found[number % len(found)] for number in range(count)]


def places(tree, path=()):
    """The path of each value in a tree of dicts and lists."""
    if path:
        yield path
    for key, below in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from places(below, (*path, key))


def changed(tree, path, change):
    """A copy of a tree in which ``change(container, key)`` was done at a path."""
    tree = container = deepcopy(tree)
    for key in path[:-1]:
        container = container[key]
    change(container, path[-1])
    return tree


def mutants(tree, count, salt):
    """Copies of a tree with one or two values replaced, removed, renamed or added, each with what was done."""
    junk = iter(examples(JUNK, 2 * count, salt))
    return [_mutated(tree, dice(salt, number), junk) for number in range(count)]


def _mutated(tree, random, junk):
    said = []
    for _ in range(random.randint(1, 2)):
        if not (found := list(places(tree))):
            break
        path, how = random.choice(found), random.choice(["replace", "replace", "replace", "remove", "rename", "add"])
        value = next(junk)

        def change(container, key, how=how, value=value):
            if how == "replace":
                container[key] = value
            elif how == "remove":
                del container[key]
            elif isinstance(container, list):
                container.insert(key, value)
            else:
                container["x" if how == "add" else f"{key}x"] = value if how == "add" else container.pop(key)

        tree = changed(tree, path, change)
        said.append(f"{how} {'.'.join(map(str, path))} ({str(value)[:40]!r})")
    return "; ".join(said), tree


def damage(content, random, kinds=""):
    """Bytes with one damage, and what it is; most are a bit that is another."""
    kind = random.choice(kinds.split() or ["flip"] * 4 + ["cut", "cut", "zeros", "longer", "empty", "text", "swap"])
    at = random.randrange(max(1, len(content)))
    if kind == "flip" and content:
        bit = 1 << random.randrange(8)
        return f"bit {bit} of byte {at} flipped", content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
    if kind == "cut":
        return f"cut off at {at} of {len(content)}", content[:at]
    if kind == "zeros":
        n = random.choice([1, 16, 512, 4096])
        return f"{n} zeros at {at}", (content[:at] + bytes(n) + content[at + n :])[: len(content)]
    if kind == "longer":
        return "512 more bytes", content + random.randbytes(512)
    if kind == "swap":
        n = min(64, len(content) // 2)
        return f"{n} bytes of the begin at the end", content[n:] + content[:n]
    return ("empty", b"") if kind == "empty" else ("text", b"this is no such file\n" * 20)


def damage_file(path, random, kinds=""):
    """Damage a file, and say how."""
    said, content = damage(path.read_bytes(), random, kinds)
    path.write_bytes(content)
    return said
