"""Sketches for a trained model: those of its run's test set, which have numbers and labels."""

from collections.abc import Sequence

from torch import Tensor

from vae_zoo.data.module import DataModule
from vae_zoo.errors import UserError


def chosen(words: Sequence[str], data: DataModule) -> tuple[Tensor, Tensor]:
    """Return test sketches (B, T, 5) and their labels (B,).

    Args:
        words: numbers from 0 on, in the order of the test set, and names of labels, each of which means all of its own.
        data: the data of the model's run, set up.

    Raises:
        UserError: if a word is neither.
    """
    test = data.parts["test"]
    _, labels = next(data.batches("test", len(test)))
    rows: list[int] = []
    for word in words:
        if word in data.labels:
            rows += (labels == data.labels.index(word)).nonzero().flatten().tolist()
        elif word.isdecimal() and int(word) < len(test):
            rows.append(int(word))
        else:
            known = f"its labels are {', '.join(data.labels)}"
            raise UserError(f"{word}: the run has test sketches from 0 to {len(test) - 1}, and {known}")
    x, y = test.__getitems__(rows)
    return data.on_after_batch_transfer((x, y), 0)
