"""The models of the page, each of which follows its checkpoint, and the pictures that they are shown."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae_zoo.data.module import DataModule
from vae_zoo.data.pictures import decoded, to_images
from vae_zoo.data.sketch_files import from_lines
from vae_zoo.data.sketches import stroke5
from vae_zoo.errors import UserError, printable
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.decoding import Decoding
from vae_zoo.models.sketch import SketchModel
from vae_zoo.runs import Run

MOST_POINTS = 10_000  # of a drawing
KEPT_CODES = 8  # of a model: both ends of the path in a few browser tabs
COARSE = 2.0  # pixels of the 256 of a canvas by which a point may move, as in QuickDraw's simplified drawings


@dataclass(frozen=True)
class Picture:
    """What one browser tab shows its models; nothing of it is kept when the tab is closed.

    Attributes:
        number: of a test picture, in the order of each model's own data.
        content: of a picture file, in place of a number.
        lines: of a drawing, each of points (x, y) on a canvas of 256 x 256, y downwards, in place of a number.
        name: of the file.
    """

    number: int = 0
    content: bytes | None = None
    lines: tuple[tuple[tuple[float, float], ...], ...] | None = None
    name: str = ""


class Explored:
    """A trained model, which is read again when its checkpoint was written anew.

    Args:
        name: of it on the page.
        checkpoint: its file.
        load: reads a checkpoint within the rules of trust, or raises a UserError.
        run: that it belongs to, if any.

    Attributes:
        data: of its run, set up; None where they cannot be had.
        no_data: why not, for people.
        labels: the names of the labels that the model was trained with; their numbers until somebody says them.
        trouble: why the model is not that of the file as it is now; empty if it is.
        loaded: how often it was read.
    """

    def __init__(
        self,
        name: str,
        checkpoint: Path,
        load: Callable[[Path], GenerativeModel],
        run: Run | None = None,
    ) -> None:
        self.name, self.checkpoint, self.run = name, checkpoint, run
        self.data: DataModule | None = None
        self.no_data = ""
        self.trouble, self.loaded = "", 1
        self._load, self._lock = load, threading.Lock()
        self._stamp = self._stamped()
        self._model = load(checkpoint)
        self.labels = [str(number) for number in range(self._model.labels)]
        self._code = lru_cache(KEPT_CODES)(self._encoded)

    @property
    def model(self) -> GenerativeModel:
        """The model, as its file says now; the one before where that cannot be read, see `trouble`."""
        if self._lock.acquire(blocking=False):  # whoever comes while it is being read sees the one before
            try:
                self._refresh()
            finally:
                self._lock.release()
        return self._model

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            found = self.checkpoint.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _refresh(self) -> None:
        stamp = self._stamped()
        if stamp is None:
            self.trouble = f"{self.checkpoint} is no longer there; the model is the last one that was read."
            self._stamp = None
            return
        if stamp == self._stamp:
            return
        self._stamp = stamp  # a file that cannot be read is not tried again until it is written anew
        try:
            model = self._load(self.checkpoint)
            if _form(model) != _form(self._model):
                raise UserError("it holds another model now; start vae-zoo explore anew")
        except (UserError, OSError) as error:
            self.trouble = f"{self.checkpoint} was changed and cannot be used; the model is the one before. {error}"
            return
        self._model, self.trouble, self.loaded = model, "", self.loaded + 1

    @property
    def autoencoder(self) -> Autoencoder:
        """The model, of which it is known that it has an encoder."""
        model = self.model
        assert isinstance(model, Autoencoder)
        return model

    @property
    def decoding(self) -> Decoding:
        """The model, of which it is known that it has codes."""
        model = self.model
        assert isinstance(model, Decoding)
        return model

    @property
    def sketches(self) -> SketchModel:
        """The model, of which it is known that it makes sketches."""
        model = self.model
        assert isinstance(model, SketchModel)
        return model

    @property
    def test_pictures(self) -> int:
        """How many test pictures there are, or sketches."""
        return len(self.data.parts["test"]) if self.data else 0

    def of(self, label: int | None, n: int = 1) -> Tensor | None:
        """Return a label as the model takes it for `n` items, (n,); None for a model that takes none.

        Raises:
            UserError: if the model has no such label.
        """
        if not self._model.labels:
            return None
        if not 0 <= (label or 0) < self._model.labels:
            raise UserError(f"{self.name} has labels 0 to {self._model.labels - 1}, and no {label}")
        return torch.full((n,), label or 0)

    def read(self, picture: Picture, label: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Return a picture as the model gets those of its data, (1, C, H, W) or (1, T, 5), and its label (1,).

        Args:
            picture: which.
            label: the number of the label; None is a test picture's own.

        Raises:
            UserError: if it cannot be read, or is nothing that this model sees.
        """
        model = self._model
        own = None
        if picture.content is not None:
            if not model.pixels:
                raise UserError(f"{self.name} knows sketches, and no pictures: draw one on the tab Sketch")
            pixels = decoded(picture.name or "the file", lambda: picture.content or b"", model.hparams["shape"])
            x = to_images(torch.from_numpy(pixels.copy())[None])
        elif picture.lines is not None:
            if model.pixels:
                raise UserError(f"{self.name} knows pictures, and no sketches: drop a picture")
            x = self._drawn(picture.lines)
        else:
            if self.data is None:
                raise UserError(f"{self.name} has no test pictures here. {self.no_data}")
            if not 0 <= picture.number < self.test_pictures:
                raise UserError(f"{self.name} has test pictures 0 to {self.test_pictures - 1}, no {picture.number}")
            x, own = next(self.data.batches("test", 1, [picture.number]))
        return x, (own if own is not None and label is None else self.of(label)) if model.labels else None

    def code(self, picture: Picture, label: int | None = None) -> Tensor:
        """Return the code of a picture (1, D), or maps, see `read`; a slider that asks for it at each move has it once.

        Raises:
            UserError: if it cannot be read, or is nothing that this model sees.
        """
        self.model  # noqa: B018  which looks at the file
        return self._code(picture, label, self.loaded)

    def _encoded(self, picture: Picture, label: int | None, _loaded: int) -> Tensor:
        return self.autoencoder.encode(*self.read(picture, label))

    def called(self, picture: Picture) -> str:
        """Return what a picture is, for people."""
        if picture.lines is not None:
            return "the drawing"
        what = "test picture" if self._model.pixels else "test sketch"
        return f"{what} {picture.number}" if picture.content is None else picture.name or "the picture"

    def own_label(self, picture: Picture) -> int | None:
        """Return the number of a test picture's label; None for other pictures, and models that take none."""
        if not self._model.labels or self.data is None or picture.content is not None or picture.lines is not None:
            return None
        return int(self.read(picture)[1])  # type: ignore[arg-type]  # a model that takes labels has one

    def _drawn(self, lines: tuple[tuple[tuple[float, float], ...], ...]) -> Tensor:
        """A drawing (1, T, 5), simplified as QuickDraw's are, in the training's deviations."""
        from shapely import LineString

        if sum(map(len, lines)) > MOST_POINTS:
            raise UserError(f"a drawing has at most {MOST_POINTS} points")
        simple = [
            np.array(LineString(line).simplify(COARSE).coords if len(line) > 1 else line, np.float32)
            for line in lines
            if line
        ]
        rows = from_lines(simple)
        longest = int(self._model.hparams["shape"][0])
        if not 0 < len(rows) < longest:
            raise UserError(f"{self.name} reads drawings of 1 to {longest - 1} points, this one has {len(rows)}")
        scale = self.data.scale if self.data else 1.0
        return stroke5([rows / np.array([scale, scale, 1], np.float32)])


def _form(model: GenerativeModel) -> tuple:
    code = model.code_shape if isinstance(model, Decoding) else None
    return type(model), tuple(model.hparams["shape"]), model.labels, code


class Session:
    """What the server holds, and all browser tabs share: models, which nobody changes, and the runs of a folder.

    Args:
        models: one or several.
        folder: of the runs that the tab Runs shows; None: those of the models.
        seed: of the noise that no control on the page says.
    """

    def __init__(self, models: Sequence[Explored], folder: Path | None = None, seed: int = 0) -> None:
        self.models, self.folder, self.seed = list(models), folder, seed
        self._noise = threading.Lock()

    @contextmanager
    def noise(self, seed: int | None = None) -> Iterator[None]:
        """Draw at random from a seed, and leave the numbers of others alone: threads share PyTorch's."""
        with self._noise, torch.random.fork_rng([]):
            torch.manual_seed(self.seed if seed is None else seed)
            yield

    @property
    def troubles(self) -> list[str]:
        """What is to be told of the models' files now."""
        for each in self.models:
            each.model  # noqa: B018  which looks at the file
        return [f"{each.name}: {each.trouble}" for each in self.models if each.trouble]

    @property
    def test_pictures(self) -> int:
        """How many test pictures all models have that have any."""
        return min((each.test_pictures for each in self.models if each.data), default=0)

    @property
    def differs(self) -> bool:
        """Whether a number is another picture for one model than for another."""
        ids = [list(map(str, each.data.split["test"])) for each in self.models if each.data]
        return any(each != ids[0] for each in ids)

    def that(self, *kinds: type, pixels: bool | None = None, labels: bool | None = None) -> list[Explored]:
        """Return the models that are all of this."""
        return [
            each
            for each in self.models
            if all(isinstance(each.model, kind) for kind in kinds)
            and pixels in (None, each.model.pixels)
            and labels in (None, bool(each.model.labels))
        ]


def report(error: BaseException) -> str:
    """Return what the page says of an error; what is no UserError is also told on the terminal, with its trace."""
    if not isinstance(error, UserError):
        import traceback

        print(printable("".join(traceback.format_exception(error))), file=sys.stderr)
        return f"That went wrong: {type(error).__name__}: {error}"
    return str(error)
