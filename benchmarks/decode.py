"""What a decoder costs and changes: JPEG files to 64 x 64 pixels of 8 bits, by Pillow, torchvision and torchcodec.

    python benchmarks/decode.py [--data pictures.zip] [--n 110] [--size 64] [--rounds 9]

The decoders take turns, picture by picture, on one core. Differences are in grey levels, from Pillow's decoding at full
size. Without --data, pictures of 640 x 480 are generated: blurred noise with fine noise on it.
"""

import argparse
import io
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from vae_zoo.data.files import Files
from vae_zoo.data.pictures import decode

Decoder = Callable[[bytes], np.ndarray]  # to (H, W, C)


def generated(n: int) -> list[bytes]:
    """Return JPEG files of COCO's size."""
    rng, files = np.random.default_rng(0), []
    for _ in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(
            (640, 480), Image.Resampling.BICUBIC
        )
        fine = rng.normal(0, 12, (480, 640, 1))
        buffer = io.BytesIO()
        Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def pillow(size: int, draft: int, content: bytes) -> np.ndarray:
    """Decode at a fraction of the size that stays `draft` times what is asked for; 0 is the full size."""
    with Image.open(io.BytesIO(content)) as image:
        if draft:
            image.draft("RGB", (draft * size, draft * size))
        upright = ImageOps.exif_transpose(image).convert("RGB")
        return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC))


def fitted(size: int, image: Tensor) -> np.ndarray:
    """Crop (C, H, W) to the square in the middle, by whole pixels, and resize it as Pillow does."""
    side = min(image.shape[1:])
    top, left = ((length - side) // 2 for length in image.shape[1:])
    square = image[:, top : top + side, left : left + side]
    return resize(square, [size, size], InterpolationMode.BICUBIC, antialias=True).permute(1, 2, 0).numpy()


def torchvision(size: int, content: bytes) -> np.ndarray:
    """Decode by torchvision."""
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return fitted(size, decode_jpeg(data, ImageReadMode.RGB, apply_exif_orientation=True))


def torchcodec(size: int) -> Decoder:
    """Return torchcodec's decoder. Raises ImportError where it is not installed, or has none for JPEG."""
    from torchcodec.decoders import decode_jpeg as decode_by_torchcodec

    return lambda content: fitted(size, decode_by_torchcodec(content))


def main() -> None:
    """Measure each decoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder or zip of JPEG files; by default generated ones")
    parser.add_argument("--n", type=int, default=110, help="at most so many of them")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.data:
        files = Files(options.data)
        names = [name for name in files.pictures() if name.lower().endswith((".jpg", ".jpeg"))]
        contents = [files.read(name) for name in names[: options.n]]
    else:
        contents = generated(options.n)
    size = options.size
    decoders: dict[str, Decoder] = {
        "Pillow at full size": partial(pillow, size, 0),
        "vae_zoo: Pillow, 8 x": partial(decode, shape=(3, size, size)),
        "Pillow, 2 x": partial(pillow, size, 2),
        "torchvision": partial(torchvision, size),
    }
    try:
        decoders["torchcodec"] = torchcodec(size)
    except ImportError as error:
        print(f"{'torchcodec':22} n/a: {error}")
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    truth = [decoders["Pillow at full size"](content) for content in contents]
    off = {name: np.abs(np.array([d(c) for c in contents], int) - truth) for name, d in decoders.items()}
    for _ in range(options.rounds):
        spent = dict.fromkeys(decoders, 0.0)
        for content in contents:
            for name, decoder in decoders.items():
                begin = process_time()
                decoder(content)
                spent[name] += process_time() - begin
        for name in decoders:
            seconds[name].append(spent[name] / len(contents))
    for name in decoders:
        each = statistics.median(seconds[name])
        print(
            f"{name:22} {1e3 * each:6.3f} ms a picture, {1 / each:6.0f} a second; "
            f"differences: largest {off[name].max():3}, mean {off[name].mean():.3f}"
        )


if __name__ == "__main__":
    main()
