"""What a picture becomes: the images of a data set, and those that are read by themselves."""

import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data_sets import encoded, gradient, images, jpeg, module
from vae_zoo.data.pictures import decode, read_pictures
from vae_zoo.errors import UserError


def test_pixels_are_the_pictures(shapes):
    """Against an independent path: Pillow's own thumbnail of the upright picture, by id."""
    data = module(shapes)
    x, _ = images(data, "test")
    assert x.shape == (20, 3, 16, 16) and x.dtype == torch.float32 and 0 <= x.min() < x.max() <= 1
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, (x * 255).round() / 255)  # to the bit, as the likelihoods of 256 values need it
    for row, id_ in enumerate(data.split["test"]):
        picture = Image.open(shapes / "images" / f"{id_:06d}.jpg")
        side = min(picture.size)
        left, top = (picture.width - side) / 2, (picture.height - side) / 2
        crop = picture.resize((16, 16), Image.Resampling.BOX, box=(left, top, left + side, top + side))
        truth = torch.from_numpy(np.asarray(crop).copy()).permute(2, 0, 1) / 255
        assert (x[row] - truth).abs().mean() < 0.03


def test_resident_batches_are_the_same(shapes):
    torch.manual_seed(3)
    plain = images(module(shapes), "train")
    torch.manual_seed(3)
    resident = images(module(shapes, resident=True), "train")
    assert torch.equal(plain[0], resident[0]) and torch.equal(plain[1], resident[1])


def test_grey_images_have_one_channel(shapes):
    grey = images(module(shapes, channels=1), "test")[0]
    colour = images(module(shapes), "test")[0]
    assert grey.shape == (20, 1, 16, 16)
    luma = (colour * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    assert (grey - luma).abs().max() < 0.05


def test_decode_keeps_the_centre_and_the_short_side():
    picture = gradient(20, 60)
    out = decode(jpeg(picture), (3, 20, 20)).astype(float)
    assert out.shape == (20, 20, 3)
    assert np.abs(out - picture[:, 20:40]).mean() < 3
    assert np.abs(decode(jpeg(gradient(16, 32)), (3, 16, 32)).astype(float) - gradient(16, 32)).mean() < 3


def test_decode_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))[:, :, None].repeat(3, 2)
    assert np.abs(decode(encoded(stripes, "PNG"), (3, 16, 16)).astype(float) - 127.5).max() < 12


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_jpeg_has_the_pixels_of_its_png(size):
    """Fine coloured stripes, where decoding at a fraction of the size shows most."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    content = jpeg(noise)
    png = encoded(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), "PNG")
    difference = np.abs(decode(content, (3, size, size)).astype(float) - decode(png, (3, size, size)))
    assert difference.mean() < 0.6 and difference.max() <= 8


def test_decode_turns_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    turned = decode(jpeg(gradient(32, 32), exif=exif), (3, 32, 32)).astype(float)
    assert np.abs(turned - gradient(32, 32).transpose(1, 0, 2)).mean() < 3


def test_decode_grey_cmyk_palette_alpha_and_tiny():
    grey = gradient(16, 16)[:, :, 0]
    truth = gradient(16, 16).astype(float)
    assert np.abs(decode(jpeg(grey), (3, 16, 16)) - truth).mean() < 3
    buffer = io.BytesIO()
    Image.fromarray(gradient(16, 16)).convert("CMYK").save(buffer, "JPEG", quality=95)
    assert np.abs(decode(buffer.getvalue(), (3, 16, 16)) - truth).mean() < 6
    buffer = io.BytesIO()
    Image.fromarray(gradient(16, 16)).convert("P", palette=Image.Palette.ADAPTIVE).save(buffer, "PNG")
    assert np.abs(decode(buffer.getvalue(), (3, 16, 16)) - truth).mean() < 6
    one = decode(encoded(np.full((1, 1, 3), 77, np.uint8), "PNG"), (3, 16, 16))
    assert one.shape == (16, 16, 3) and (one == 77).all()
    strip = decode(encoded(np.full((1, 4000, 3), 77, np.uint8), "PNG"), (3, 16, 16))
    assert (strip == 77).all()


def test_bytes_become_the_whole_range(tmp_path):
    for i in range(2):
        Image.fromarray(np.full((8, 8, 3), 255 * i, np.uint8)).save(tmp_path / f"{i}.PNG")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "x.png").touch()
    (tmp_path / "._1.png").touch()
    data = module(tmp_path, n_train=1, n_test=1, n_val=0)
    values = torch.cat([images(data, "train")[0], images(data, "test")[0]])
    assert sorted(values.flatten(1)[:, 0].tolist()) == [0, 1]


def test_images_of_another_size_than_square(shapes, tmp_path):
    """Each against the centre of its own picture, scaled to cover 12 x 20."""
    data = module(shapes, image_size=(12, 20))
    x, _ = images(data, "test")
    assert data.shape == (3, 12, 20) and x.shape == (20, 3, 12, 20)
    for row, id_ in enumerate(data.split["test"]):
        picture = Image.open(shapes / "images" / f"{id_:06d}.jpg")
        scale = min(picture.width / 20, picture.height / 12)
        left, top = (picture.width - 20 * scale) / 2, (picture.height - 12 * scale) / 2
        box = (left, top, left + 20 * scale, top + 12 * scale)
        truth = torch.from_numpy(np.asarray(picture.resize((20, 12), Image.Resampling.BOX, box=box)).copy())
        assert (x[row] - truth.permute(2, 0, 1) / 255).abs().mean() < 0.03
    with pytest.raises(UserError, match="image_size must be at least 1, got 0"):
        module(shapes, image_size=(12, 0))


def test_a_square_is_one_number_or_two_and_one_cache(shapes, tmp_path):
    one, two = (module(shapes, image_size=size, cache_dir=str(tmp_path)) for size in (16, [16, 16]))
    assert torch.equal(images(one, "test")[0], images(two, "test")[0])
    assert len(list(tmp_path.glob("*.npy"))) == 1


# --- pictures that are read by themselves


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, (12, 20)])
def test_a_picture_is_read_as_the_data_set_has_it(shapes, channels, size):
    data = module(shapes, channels=channels, image_size=size)
    x, _ = next(data.batches("test", 20))
    paths = [shapes / "images" / f"{id_:06d}.jpg" for id_ in data.split["test"]]
    read, names = read_pictures(paths, data.shape)
    assert torch.equal(read, x) and read.stride() == x.stride()
    assert names == [str(path) for path in paths]


def test_files_folders_and_zips_one_or_several(shapes, tmp_path):
    folder, shape = shapes / "images", (3, 16, 16)
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    x, names = read_pictures(folder, shape)
    assert len(x) == 80 and names == [str(folder / f"{i:06d}.jpg") for i in range(1, 81)]
    zipped, zipped_names = read_pictures(packed, shape)
    assert torch.equal(zipped, x) and zipped_names[0] == f"{packed}/000001.jpg"
    few, few_names = read_pictures([str(folder / "000002.jpg"), packed], shape, n=3)
    assert torch.equal(few, x[[1, 0, 1]]) and len(few_names) == 3


def test_only_the_pictures_that_are_asked_for_are_opened(shapes, tmp_path):
    shutil.copy(shapes / "images" / "000001.jpg", tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    assert len(read_pictures(tmp_path, (3, 16, 16), n=1)[0]) == 1
    with pytest.raises(UserError, match="b.jpg is not a picture that can be read"):
        read_pictures(tmp_path, (3, 16, 16))


@pytest.mark.parametrize(
    "paths, shape, message",
    [
        ("nowhere.png", (3, 8, 8), "nowhere.png does not exist; give a picture file, a folder or a zip"),
        ("nowhere.zip", (3, 8, 8), "nowhere.zip does not exist"),
        (".", (3, 8, 8), "there is no picture in "),
        ([], (3, 8, 8), "there is no picture in an empty list of paths"),
        (".", (250, 5), r"a model of sketches, \(250, 5\), reads no pictures"),
    ],
)
def test_what_cannot_be_read_is_told_by_name(paths, shape, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        read_pictures(paths, shape)
