"""Picture files as arrays of one shape: the one place that decodes them, for training as for a notebook."""

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from vae_zoo.data.files import LARGEST_PICTURE, Files
from vae_zoo.errors import UserError
from vae_zoo.reading import read_file

Shape = tuple[int, ...]  # (C, H, W)

MODES = {1: "L", 3: "RGB"}
# Pillow knows more, among them one that runs Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")


def decode(content: bytes, shape: Shape) -> np.ndarray:
    """Decode a picture to (H, W, C) uint8: upright, scaled to cover H x W, centre crop, antialiased.

    Args:
        content: of a picture file.
        shape: (C, H, W) out.

    Raises:
        OSError, ValueError, SyntaxError: as Pillow does, for what is no picture or is cut off.
    """
    channels, height, width = shape
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        # A large JPEG is decoded at 1/2, 1/4 or 1/8, upright or not. It stays eight times as large as what comes out,
        # so that its pixels are those of a PNG of the same picture but for rounding; at twice, some were 50 levels off.
        image.draft("RGB", (8 * max(height, width), 8 * max(height, width)))
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"pixel format {image.mode}: only 8-bit pictures are read")
        ImageOps.exif_transpose(image, in_place=True)
        # Pillow copies even what is upright and of this mode, which took a tenth of the time of a photo.
        upright = image if image.mode == MODES[channels] else image.convert(MODES[channels])
        return _covering(upright, shape)


def decode_mask(mask: np.ndarray, shape: Shape) -> np.ndarray:
    """Scale and crop a mask as `decode` does the picture that it is of.

    Args:
        mask: (h, w) bool, of the size of the upright picture.
        shape: (C, H, W) that the picture is decoded to.

    Returns:
        (H, W) bool, true where half of a pixel or more is.
    """
    return _covering(Image.fromarray(mask.astype(np.uint8) * 255), (1, *shape[1:]))[..., 0] >= 128


def upright_size(content: bytes) -> tuple[int, int]:
    """Return the height and the width that a picture has when it is upright.

    Raises:
        OSError, ValueError, SyntaxError: as Pillow does, for what is no picture.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def _covering(image: Image.Image, shape: Shape) -> np.ndarray:
    """The pixels (H, W, C) of the centre of a picture, scaled to cover them."""
    channels, height, width = shape
    # Cropping and resizing in one step: a picture of 1 x 10000 is never blown up.
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)).reshape(height, width, channels)


def to_images(pixels: Tensor) -> Tensor:
    """Turn bytes (B, H, W, C) into floats (B, C, H, W) in [0, 1]; the memory stays channels_last."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)


def read_pictures(
    paths: str | Path | Sequence[str | Path], shape: Shape, n: int | None = None
) -> tuple[Tensor, list[str]]:
    """Read pictures as a model gets those of its data set: images (N, C, H, W) in [0, 1], and their names.

    Args:
        paths: picture files, folders and zips, or one of them; of folders and zips all pictures in them, sorted.
        shape: (C, H, W) of a model.
        n: how many to read at most.

    Raises:
        UserError: if a path does not exist, a picture cannot be read, there is none, or the model has sketches.
    """
    batches, names = zip(*picture_batches(paths, shape, 64, n), strict=True)
    return torch.cat(batches), [name for batch in names for name in batch]


def picture_batches(
    paths: str | Path | Sequence[str | Path], shape: Shape, size: int, n: int | None = None
) -> Iterator[tuple[Tensor, list[str]]]:
    """Yield pictures as `read_pictures` reads them, in batches (B, C, H, W) of `size`, with their names.

    As many threads as there are cores decode the next two batches while one is being used, so that the memory does not
    grow with the number of pictures.

    Raises:
        UserError: as there.
    """
    if len(shape) != 3:
        raise UserError(f"a model of sketches, {tuple(shape)}, reads no pictures; it needs the sketches of a data set")
    given = _given(paths)
    waiting: deque[tuple[str, Future[np.ndarray]]] = deque()
    found, none = islice(_find(given), n), True
    with ThreadPoolExecutor() as pool:
        try:
            while True:
                for name, read in islice(found, 3 * size - len(waiting)):
                    waiting.append((name, pool.submit(decoded, name, read, shape)))
                if not waiting:
                    break
                batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                pixels = torch.from_numpy(np.stack([picture.result() for _, picture in batch]))
                none = False
                yield to_images(pixels), [name for name, _ in batch]
        finally:
            pool.shutdown(cancel_futures=True)
    if none:
        raise _no_picture(given)


def picture_names(paths: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the names of the pictures that `picture_batches` would yield, none of which is opened.

    Raises:
        UserError: if a path does not exist, or there is no picture.
    """
    given = _given(paths)
    names = [name for name, _ in _find(given)]
    if not names:
        raise _no_picture(given)
    return names


def _given(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(path).expanduser() for path in ([paths] if isinstance(paths, str | Path) else paths)]


def _no_picture(given: Sequence[Path]) -> UserError:
    return UserError(f"there is no picture in {', '.join(map(str, given)) or 'an empty list of paths'}")


def decoded(name: str, read: Callable[[], bytes], shape: Shape) -> np.ndarray:
    """Return a picture's pixels (H, W, C), see `decode`.

    Raises:
        UserError: that names it, if it cannot be read.
    """
    try:
        return decode(read(), shape)
    except UnidentifiedImageError as error:  # whose message has an address in memory
        raise UserError(f"{name} is not a picture that can be read") from error
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise UserError(f"{name} is not a picture that can be read: {error}") from error


def _find(paths: Sequence[Path]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Each picture's full name, and what reads it."""
    for path in paths:
        if path.is_dir() or path.suffix.lower() == ".zip":
            files = Files(path)
            yield from ((f"{path}/{name}", partial(files.read, name)) for name in files.pictures())
        elif path.exists():
            yield str(path), partial(read_file, path, LARGEST_PICTURE)
        else:
            raise UserError(f"{path} does not exist; give a picture file, a folder or a zip")
