"""Annotations may be by anybody: an entry that is none is named."""

import json
import warnings

import pytest

from tests.data_sets import edit, module
from vae_zoo.data import COCOSketches
from vae_zoo.errors import UserError

pytest_plugins = ["tests.data_fixtures"]

NAN, INFINITE = float("nan"), float("inf")
BAD = {
    ("images", "id"): [None, True, 1.0, "1", [1], {}, 2**63, 10**400, NAN],
    ("images", "file_name"): [None, 7, True, "", "a\0b", "../x", "/x", "\ud800", ["x"]],
    ("images", "width"): ["96", [96], -1, NAN, INFINITE, True, {}],
    ("images", "height"): ["96", -1, NAN],
    ("annotations", "id"): [None, [1], True, 1.5, 10**400],
    ("annotations", "image_id"): [None, True, "1", [1], 2**63],
    ("annotations", "category_id"): [None, True, "1", [1], {}],
    ("annotations", "area"): ["7", NAN, INFINITE, -INFINITE, -1, True, [7], {}],
    ("categories", "id"): [None, True, "1", [1]],
    ("categories", "name"): [None, 7, "", "a\0b", "a\nb", "\ud800", ["x"], True],
}


@pytest.mark.parametrize("key, field", BAD)
def test_a_field_of_a_wrong_type_is_named_with_its_entry(folder, key, field):
    for bad in BAD[key, field]:
        edit(folder, lambda content, bad=bad: content[key][3].update({field: bad}))
        for data in (lambda: module(folder), COCOSketches(str(folder)).setup):
            with pytest.raises(UserError, match=f"instances.json is not in COCO format: entry 3 of '{key}' has the"):
                data()
    edit(folder, lambda content: content[key][3].pop(field))
    if (key, field) in (("images", "width"), ("images", "height"), ("annotations", "id")):
        module(folder)
    else:
        with pytest.raises(UserError, match=f"entry 3 of '{key}' has no {field}, it needs .*{field}"):
            module(folder)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("bad", [None, 7, "x", {"id": 1}, [7], [None], [[]], ["x"]])
def test_a_list_that_is_none_is_named(folder, key, bad):
    edit(folder, lambda content: content.update({key: bad}))
    with pytest.raises(UserError, match=f"instances.json is not in COCO format: .*'{key}'"):
        module(folder)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"[" * 200_000, "is not JSON"),
        (b'{"images": ' * 200_000, "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b'{"images": [' + b"9" * 5000 + b"]}", "is not JSON"),
        (b"null", "is not in COCO format"),
    ],
)
def test_what_is_no_json_is_told_shortly(folder, content, message):
    (folder / "annotations" / "instances.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as told:
        module(folder)
    assert len(str(told.value)) < 500 and "\n" not in str(told.value)


@pytest.mark.parametrize("key", ["images", "categories"])
def test_two_things_of_one_id_are_an_error(folder, key):
    edit(folder, lambda content: content[key][1].update(id=content[key][0]["id"]))
    with pytest.raises(UserError, match=f"two entries of '{key}' have the id 1"):
        module(folder)


def test_whole_annotations_warn_of_nothing(folder):
    edit(folder, lambda content: content["images"][0].update(width=96.5, height=None, anything={"x": [None]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(folder)


@pytest.mark.parametrize("corner", [NAN, INFINITE, 1e300, 10**400, None, "x", [1]])
def test_a_corner_that_lies_nowhere_is_named(folder, corner):
    def change(content):
        content["annotations"][3]["segmentation"] = [[0, 0, 10, 0, 10, corner]]

    edit(folder, change)
    with pytest.raises(UserError, match="instances.json: the segmentation of annotation 4 is no list of polygons"):
        COCOSketches(str(folder)).setup()


def test_a_long_value_is_shortened(folder):
    edit(folder, lambda content: content["images"][0].update(id="x" * 10_000))
    with pytest.raises(UserError) as told:
        module(folder)
    assert len(str(told.value)) < 400 and json.dumps(str(told.value))
