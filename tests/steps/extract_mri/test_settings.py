"""Settings of ``extract mri``: classes and labels by default, recorded parameters, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from skiptool.errors import ArgumentError
from skiptool.steps.extract_mri.settings import SliceSettings


def labels_of(settings: SliceSettings, values: list[int]) -> list[int]:
    return settings.label_map.apply(np.array(values, dtype=np.uint16), "m").tolist()


def test_default_classes_are_those_of_the_challenge() -> None:
    settings = SliceSettings()
    assert settings.classes == ("background", "LV", "MYO", "RV")
    assert labels_of(settings, [0, 1, 2, 3, 255]) == [0, 1, 2, 3, 255]


def test_reversed_labels_give_the_same_classes() -> None:
    settings = SliceSettings(labels={1: "RV", 2: "MYO", 3: "LV"})
    assert settings.classes == ("background", "LV", "MYO", "RV")
    assert labels_of(settings, [0, 1, 2, 3]) == [0, 3, 2, 1]


def test_other_classes_are_ordered_by_value() -> None:
    settings = SliceSettings(labels={4: "kidney", 2: "liver", 5: "kidney"})
    assert settings.classes == ("background", "liver", "kidney")
    assert labels_of(settings, [0, 2, 4, 5]) == [0, 1, 2, 2]


def test_background_may_be_named() -> None:
    settings = SliceSettings(labels={0: "air", 1: "brain", 3: "air"})
    assert settings.classes == ("air", "brain")
    assert labels_of(settings, [0, 1, 3]) == [0, 1, 0]


def test_sizes_by_domain() -> None:
    settings = SliceSettings(sizes={"": 192, "B": 320})
    assert [settings.size_of(domain) for domain in "AB"] == [192, 320]
    assert SliceSettings().size_of("A") is None


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"sizes": {"": 200}}, "--size 200: expected a multiple of 32.*the next is 224"),
        ({"sizes": {"A": 0}}, "--size A=0: .*the next is 32"),
        ({"spacing": 0.0}, "--spacing 0.0: expected 0.01 to 100"),
        ({"spacing": float("nan")}, "--spacing nan"),
        ({"percentiles": (99.0, 1.0)}, "--percentiles 99,1: expected LOW,HIGH"),
        ({"percentiles": (-1.0, 99.0)}, "--percentiles -1,99"),
        ({"percentiles": (float("nan"), 99.0)}, "--percentiles nan,99"),
        ({"train_subjects": {"A": -1}}, "--train-subjects A=-1"),
        ({"centres": {"": "1"}}, "--centre 1: expected DOMAIN=CENTRE"),
        ({"slice_axes": {"A": 0}}, "--slice-axis A=0: expected 1, 2 or 3"),
        ({"labels": {0: "air"}}, "expected 2 to 255 different names"),
    ],
)
def test_invalid_settings_are_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        SliceSettings(**asked)


def test_recorded_parameters_are_valid_options() -> None:
    asked = SliceSettings(
        {1: "RV", 2: "MYO"}, {"": 192, "B": 320}, 1.25, (1.0, 99.5), {"A": "1"}, {"A": 75}, {"": 16}
    ).recorded
    assert asked == {
        "labels": ["1=RV", "2=MYO"],
        "size": ["192", "B=320"],
        "spacing": 1.25,
        "percentiles": "1,99.5",
        "centre": ["A=1"],
        "train_subjects": ["A=75"],
        "test_subjects": ["16"],
        "keep_unlabelled": False,
    }


def test_slice_axis_is_recorded_if_given() -> None:
    settings = SliceSettings(slice_axes={"": 3, "B": 1})
    assert [settings.slice_axis_of(domain) for domain in "AB"] == [2, 0]
    assert settings.recorded["slice_axis"] == ["3", "B=1"]
    assert SliceSettings().slice_axis_of("A") is None
