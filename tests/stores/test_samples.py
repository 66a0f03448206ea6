from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from skiptool.errors import ArgumentError, MismatchError
from skiptool.stores.header import identifier
from skiptool.stores.samples import check_sample, column_kinds, pack
from small_stores import CLASSES, refused, sample

COLOUR, GREY = (4, 6, 3), (4, 6, 1)


def test_sound_samples_pass() -> None:
    check_sample(sample(0), CLASSES)
    check_sample(sample(0, "Scanner Ø 2", GREY), CLASSES)
    check_sample(sample(0, mask=np.full((4, 6), 255, np.uint8)), CLASSES)
    check_sample(sample(0, columns={}), ("background",) * 255)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\\b", "a\n", "\x00", "zarr.json"])
def test_names_that_cannot_stand_in_a_store_are_refused(name: str) -> None:
    with refused(ArgumentError):
        check_sample(sample(0, name), CLASSES)
    with refused(ArgumentError):
        check_sample(sample(0, columns={name: 1}), CLASSES)


@pytest.mark.parametrize("name", ["id", "subject", "split", "fold", "digest"])
def test_columns_of_the_source_do_not_hide_the_store_s_own(name: str) -> None:
    with refused(ArgumentError, "domain a, sample 000", repr(name), "choose another name"):
        check_sample(sample(0, columns={name: "x"}), CLASSES)


@pytest.mark.parametrize(
    "new", [{"id": "\udce9"}, {"subject": "\udce9"}, {"columns": {"organ": "\udce9"}}]
)
def test_names_of_files_that_are_no_unicode_are_refused(new: dict[str, Any]) -> None:
    with refused(ArgumentError, "no Unicode", "rename the file"):
        check_sample(sample(0, **new), CLASSES)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 6, 1), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 3), np.float32),
        np.zeros((4, 6, 1), np.float64),
        np.zeros((1, 4, 6, 3), np.uint8),
    ],
)
def test_images_are_colour_bytes_or_grey_floats(image: np.ndarray) -> None:
    with refused(ArgumentError, "sample 000", str(image.shape), "expected uint8 (H, W, 3)"):
        check_sample(sample(0, image=image), CLASSES)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.1])
def test_grey_values_lie_between_0_and_1(value: float) -> None:
    image = np.full(GREY, 0.5, np.float32)
    image[1, 1] = value
    with refused(ArgumentError, "sample 000", "[0, 1]"):
        check_sample(sample(0, shape=GREY, image=image), CLASSES)


def test_masks_are_bytes_of_the_image_s_size() -> None:
    with refused(ArgumentError, "int64"):
        check_sample(sample(0, mask=np.zeros((4, 6), np.int64)), CLASSES)
    with refused(MismatchError, "mask is (6, 4), image is (4, 6)"):
        check_sample(sample(0, mask=np.zeros((6, 4), np.uint8)), CLASSES)
    with refused(MismatchError, "above 0"):
        check_sample(sample(0, shape=(0, 6, 3)), CLASSES)


@pytest.mark.parametrize("label", [3, 4, 254])
def test_labels_beyond_the_classes_are_named_with_the_classes(label: int) -> None:
    mask = np.full((4, 6), 255, np.uint8)
    mask[2, 3] = label
    with refused(
        MismatchError, f"label {label}", "classes are 0 to 2 (background, cell, debris) and 255"
    ):
        check_sample(sample(0, mask=mask), CLASSES)


def test_a_row_is_json_and_has_the_hash_of_the_pixels() -> None:
    one = sample(0, columns={"n": np.int64(3), "x": np.float32(0.5), "t": "a", "f": 2.5})
    row = pack(one, CLASSES).row
    assert json.loads(json.dumps(row)) == row
    assert {name: row[name] for name in one.columns} == {"n": 3, "x": 0.5, "t": "a", "f": 2.5}
    assert row["digest"] == identifier(one.image.tobytes() + one.mask.tobytes())
    other = one.mask.copy()
    other[0, 0] ^= 1
    assert pack(sample(0, mask=other), CLASSES).row["digest"] != row["digest"]
    assert column_kinds(row) == {"n": "number", "x": "number", "t": "text", "f": "number"}
