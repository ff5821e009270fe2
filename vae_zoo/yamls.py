"""What a yaml must be before it is read: bounded, unambiguous, and of the types that it says."""

from typing import Any

import yaml

from vae_zoo.errors import UserError

try:  # libyaml's parser, which reads a run's settings in a tenth of the time
    from yaml import CSafeLoader as Loader
except ImportError:  # a PyYAML that was built without it
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

LARGEST = 10_000  # values in a yaml, an anchor's counted wherever it is used
DIGITS = 19  # of a whole number: more do not fit 64 bits
CLASS = (  # how a yaml writes a class
    ("class_path", yaml.ScalarNode, "the name of a class"),
    ("init_args", yaml.MappingNode, "a mapping of the class's arguments; leave it out if there are none"),
)
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a string",
    "list": "a list",
    "dict": "a mapping",
}


def check(text: str, where: str = "the yaml") -> None:
    """Refuse a yaml that does not mean what it says, or is larger than it looks.

    Args:
        text: the yaml.
        where: it stands, for the error.

    Raises:
        UserError: if a key is given twice or is no text, a class is no class, or the whole, its anchors expanded, is
            too large or has no end.
        yaml.YAMLError: if it is no yaml.
    """
    _checked(text, where)


def load(text: str, where: str = "the yaml") -> Any:
    """Return what a yaml says, which is parsed once.

    Args:
        text: the yaml.
        where: it stands, for the error.

    Raises:
        UserError: as `check` does.
        yaml.YAMLError: if it is no yaml.
        ValueError: if a value is none of its type, such as a date without a day; also ArithmeticError, AttributeError.
    """
    node = _checked(text, where)
    return None if node is None else yaml.constructor.SafeConstructor().construct_document(node)


def _checked(text: str, where: str) -> yaml.Node | None:
    """The tree of a yaml that `check` lets through; None of an empty one."""
    try:
        node = yaml.compose(text, Loader=Loader)
        _check(node, where, (), {})
    except (RecursionError, yaml.scanner.ScannerError) as error:
        if isinstance(error, yaml.scanner.ScannerError) and "nesting depth" not in str(error.problem):
            raise
        raise UserError(f"{where} is nested too deeply") from None
    except UnicodeEncodeError as error:  # libyaml reads UTF-8, which has no half of a character
        raise yaml.YAMLError(f"{error.object[error.start]!r} is no character") from error
    return node


def _check(node: yaml.Node | None, where: str, path: tuple[str, ...], sizes: dict[int, int]) -> int:
    """Refuse what is wrong with a tree, and return how many nodes it has; an anchor's count at each of its uses.

    Args:
        node: its root.
        where: it stands, for the error.
        path: of keys to it.
        sizes: by the id of each node that was seen, that number; 0 of those above.
    """
    if not isinstance(node, yaml.CollectionNode):
        if node and node.tag.endswith(":int") and len(node.value) > DIGITS:
            raise UserError(f"{_line(where, node)}: {'.'.join(path)} {node.value[:DIGITS]}... is too large a number")
        if node and node.tag.endswith((":int", ":float", ":bool")):
            try:
                yaml.constructor.SafeConstructor().construct_object(node)
            except (LookupError, ValueError, ArithmeticError):  # such as !!bool perhaps
                kind = KINDS[node.tag.rpartition(":")[2]]
                raise UserError(f"{_line(where, node)}: {'.'.join(path)} {node.value!r} is not {kind}") from None
        return 1
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise UserError(f"{_line(where, node)}: {'.'.join(path)} holds itself")
        return sizes[id(node)]
    sizes[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        named = _check_keys(node, where, path)
        size = 1 + sum(_check(value, where, (*path, name), sizes) + 1 for name, value in named)
    else:
        size = 1 + sum(_check(item, where, (*path, str(i)), sizes) for i, item in enumerate(node.value))
    if size > LARGEST:
        raise UserError(f"{where} has more than {LARGEST} values once its anchors are expanded")
    sizes[id(node)] = size
    return size


def _check_keys(node: yaml.MappingNode, where: str, path: tuple[str, ...]) -> list[tuple[str, yaml.Node]]:
    """Return what stands in a mapping by its keys, each of them a text, and once; a class has a name, and arguments."""
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
        # An argument may be a mapping of numbers, such as epochs to values.
        texts = ("str", "merge", "value", *(["int"] if "init_args" in path[:-1] else []))
        if key.tag.rpartition(":")[2] not in texts:
            raise UserError(f"{_line(where, key)}: {'.'.join([*path, str(name)])} is a key that is no text; quote it")
        if name in found:
            raise UserError(f"{_line(where, key)}: there is a second {'.'.join([*path, str(name)])}; keep one of them")
        found[name] = value
    for name, kind, meant in CLASS:
        value = found.get(name)
        if value is not None and not (isinstance(value, kind) and value.tag.endswith((":str", ":map"))):
            raise UserError(f"{_line(where, value)}: {'.'.join([*path, name])} must be {meant}")
    return [*found.items()]


def _line(where: str, node: yaml.Node) -> str:
    return f"{where}, line {node.start_mark.line + 1}"
