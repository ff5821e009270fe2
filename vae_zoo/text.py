"""What a label says, as numbers that a model is conditioned on: the label itself, or its text, read word by word."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vae_zoo.conditional import check_labels
from vae_zoo.errors import UserError, require

PADDING = 0  # the token after the end of a text


class Text(nn.Module, ABC):
    """Labels to numbers: phi, (B,) -> (B, features).

    Made by a factory that is called with the number of labels and their texts, of which there are none where the data
    have no captions. Its parameters, if it has any, are trained with the model's.

    Attributes:
        features: F, numbers that say what a label says.
    """

    features: int

    @abstractmethod
    def forward(self, y: Tensor) -> Tensor:
        """Return the numbers (B, F) of labels (B,)."""

    @abstractmethod
    def describe(self, texts: Sequence[str]) -> None:
        """Let the labels 0, 1 ... stand for these texts instead.

        Raises:
            UserError: if it reads no texts, or not such ones.
        """


TextFactory = Callable[[int, tuple[str, ...]], Text]


class LabelText(Text):
    """A learned vector for each label, whatever its text.

    Args:
        labels: how many there are.
        captions: not used.
        features: F, numbers of a vector.
    """

    def __init__(self, labels: int, captions: tuple[str, ...] = (), features: int = 64) -> None:
        super().__init__()
        require(1, labels=labels, features=features)
        self.labels, self.features = labels, features
        self.embedding = nn.Embedding(labels, features)

    def forward(self, y: Tensor) -> Tensor:
        """Return the vectors (B, F)."""
        return self.embedding(check_labels(y, self.labels))

    def describe(self, texts: Sequence[str]) -> None:
        """Refuse: there is a vector for each label, and none for other texts.

        Raises:
            UserError: always.
        """
        raise UserError("the model was trained on labels and reads no texts; with --model.text RecurrentText it does")


class RecurrentText(Text):
    """The last state of a gated recurrent unit (Cho et al. 2014) that reads the words of the label's text.

    Its words are those of the captions, in lower case. It is trained with the model, so it knows what tells these
    pictures apart, and no more of the language.

    Args:
        labels: how many there are.
        captions: the text of each.
        features: F, numbers of the state.
        width: numbers of a word's vector.
        longest: words that are read of a text, at most.

    Raises:
        UserError: if there is not a text for each label.
    """

    tokens: Tensor
    lengths: Tensor

    def __init__(
        self, labels: int, captions: tuple[str, ...] = (), features: int = 64, width: int = 32, longest: int = 50
    ) -> None:
        super().__init__()
        require(1, labels=labels, features=features, width=width, longest=longest)
        if len(captions) != labels:
            raise UserError(
                f"RecurrentText needs a text for each of {labels} labels, got {len(captions)}; of pictures, ask for "
                "them with --data.captions auto, or categories"
            )
        self.labels, self.features, self.longest = labels, features, longest
        found = sorted({word for text in captions for word in words(text)})
        self.vocabulary = {word: i for i, word in enumerate(found, PADDING + 1)}
        self.embedding = nn.Embedding(PADDING + 1 + len(found), width, padding_idx=PADDING)
        self.reader = nn.GRU(width, features, batch_first=True)
        for name, value in self._read(captions).items():
            self.register_buffer(name, value, persistent=False)  # the captions are an argument of the model

    def forward(self, y: Tensor) -> Tensor:
        """Return the states (B, F) after the last word."""
        y = check_labels(y, self.labels)
        states, _ = self.reader(self.embedding(self.tokens[y]))  # B T F; padding changes no earlier state
        last = (self.lengths[y] - 1).view(-1, 1, 1).expand(-1, 1, self.features)  # B 1 F
        return states.gather(1, last).squeeze(1)

    def describe(self, texts: Sequence[str]) -> None:
        """Let the labels 0, 1 ... stand for these texts instead.

        Raises:
            UserError: if a text has a word that no caption has, or none at all.
        """
        for text in texts:
            unknown = [word for word in words(text) if word not in self.vocabulary]
            if unknown or not words(text):
                known = ", ".join(list(self.vocabulary)[:40]) + (" ..." if len(self.vocabulary) > 40 else "")
                what = f"the word {unknown[0]!r} is" if unknown else "there are no words in it"
                raise UserError(f"text {text!r}: {what}{' in no caption' if unknown else ''}; known are {known}")
        self.labels = len(texts)
        for name, value in self._read(texts).items():
            setattr(self, name, value.to(self.embedding.weight.device))

    def _read(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The tokens (N, T) of texts, and their lengths (N,), at least 1."""
        read = [[self.vocabulary[word] for word in words(text)[: self.longest]] for text in texts]
        longest = max(1, *map(len, read))
        tokens = torch.tensor([each + [PADDING] * (longest - len(each)) for each in read])
        return {"tokens": tokens, "lengths": torch.tensor([max(1, len(each)) for each in read])}


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return re.findall(r"[\w']+", text.lower())
