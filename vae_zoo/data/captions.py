"""What is said of each picture: its caption, or a sentence made of its label."""

import warnings
from pathlib import PurePosixPath

import numpy as np

from vae_zoo.data.annotations import CAPTIONS, LONGEST_CAPTION, read_coco
from vae_zoo.data.files import Files, clean_name
from vae_zoo.data.index import NO_LABEL, Pictures
from vae_zoo.errors import UserError

AUTO, CATEGORIES = "auto", "categories"


def texts_of(pictures: Pictures, files: Files, captions: str, annotations: str | None) -> np.ndarray:
    """Return the text of each picture: of its captions that with the smallest id, else the sentence of its label.

    Args:
        pictures: with their labels; those of a COCO data set are found by their ids, others by their files' names.
        files: what a relative name is in.
        captions: the name of a captions file; "auto" for the one beside `annotations`, "categories" for sentences.
        annotations: the instances file of the pictures, None if there is none.

    Returns:
        (n,) texts.

    Raises:
        UserError: if the file is missing or no captions file, or describes none of the pictures.
    """
    if captions == CATEGORIES:
        return np.array([sentence(label) for label in pictures.labels], dtype=object)
    try:
        name = _beside(annotations) if captions == AUTO else captions
        found = _read(files, name)
        missing = [id_ for id_ in pictures.ids if id_ not in found]
        if len(missing) == len(pictures):
            raise UserError(f"{name} describes none of the {len(pictures)} pictures")
    except UserError as error:
        raise UserError(f"data.captions: {error}; give another file, or {CATEGORIES} for sentences of labels") from None
    texts = [found.get(id_) or sentence(label) for id_, label in zip(pictures.ids, pictures.labels, strict=True)]
    if missing:
        warnings.warn(
            f"{name} describes {len(pictures) - len(missing)} of {len(pictures)} pictures; the others, such as "
            f"{missing[0]}, have a sentence made of their label, such as {sentence('dog')!r}",
            stacklevel=2,
        )
    return np.array(texts, dtype=object)


def sentence(label: str) -> str:
    """Return "a photo of a dog" of "dog", and "a photo" of a picture that has no label."""
    if label == NO_LABEL:
        return "a photo"
    return _clean(f"a photo of {'an' if label[0].lower() in 'aeiou' else 'a'} {label}")[:LONGEST_CAPTION]


def _beside(annotations: str | None) -> str:
    """The name of COCO's captions file that belongs to an instances file."""
    path = PurePosixPath(annotations or "")
    if "instances" not in path.name:
        raise UserError(f"auto is the captions file of an instances file, and there is {annotations or 'none'}")
    return str(path.with_name(path.name.replace("instances", "captions")))


def _read(files: Files, name: str) -> dict[int | str, str]:
    """The texts of a captions file, each by its picture's id and by its file's name."""
    content = read_coco(files, name, CAPTIONS, "data.captions")
    texts: dict[int | str, str] = {}
    for row in sorted(content["annotations"], key=lambda row: row["id"]):
        if text := _clean(row["caption"]):
            texts.setdefault(row["image_id"], text)
    names = {clean_name(row["file_name"]): row["id"] for row in content["images"]}
    return texts | {name: texts[id_] for name, id_ in names.items() if id_ in texts}


def _clean(text: str) -> str:
    """A text in one line, without control characters, which a terminal would obey, and without further blanks."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
