from __future__ import annotations

from typing import Any

import pytest
from matplotlib.text import Text

from skiptool.analysis.distances import BEYOND_COLUMNS
from skiptool.report.exhibit import Exhibit
from skiptool.report.layerwise import layerwise_exhibits

FACTS: dict[str, Any] = {
    **dict.fromkeys(BEYOND_COLUMNS),
    "reference": "r.npy",
    "other": "o.npy",
    "arch": "unet",
    "encoder": "resnet18",
    "pruning": "baseline",
    "fold": 0,
    "dataset": "d",
    "reference_domain": "a",
    "domain": "a",
    "reference_shift": "original",
    "shift": "brightness",
    "factor": 0.5,
    "unit": "subject",
    "permutations": 199,
    "n_reference": 8,
    "n_other": 9,
}
MEASURED = {
    "hellinger": {"value": 0.3, "corrected": 0.004, "p_adjusted": 0.6, "bins": 100},
    "covariance": {"value": 0.25, "p_adjusted": 0.005},
    "classifier": {"value": 0.74, "p_adjusted": 0.01},
    "paired-difference": {"value": 0.41, "corrected": 0.4, "ci_low": 0.35, "ci_high": 0.45},
}


def rows(layers: tuple[str, ...] = ("enc1", "head"), **facts: object) -> list[dict[str, Any]]:
    other = {"other_id": f"{sorted(facts.items())}", "reference_id": "r"}
    return [
        {**FACTS, **other, **facts, "layer": layer, "metric": metric, **numbers}
        for metric, numbers in MEASURED.items()
        for layer in layers
    ]


def drawn(*found: dict[str, Any]) -> list[Exhibit]:
    return layerwise_exhibits({name: [row[name] for row in found] for name in BEYOND_COLUMNS})


def texts(shown: Exhibit) -> list[tuple[str, str]]:
    drawn = shown.draw().findobj(Text)
    return [(each.get_text(), each.get_fontweight()) for each in drawn]


def test_each_measure_has_a_matrix_with_significant_values_in_bold() -> None:
    (shown,) = drawn(*rows(), *rows(factor=0.75))
    assert shown.title == "Channels and whole layers: resnet18 baseline, shifts, a"
    found = texts(shown)
    for name in ("Covariance distance", "Accuracy of a linear classifier", "Paired difference"):
        assert (name, "bold") in found
    assert found.count(("0.25", "bold")) == found.count(("0.74", "bold")) == 4
    assert found.count(("0.004", "normal")) == found.count(("0.41", "normal")) == 4
    for words in (
        "8 and 9 images, 1 training",
        "B = 100",
        "permutation of subjects",
        "0.5 is chance",
    ):
        assert words in shown.caption


def test_table_and_numbers_contain_every_cell() -> None:
    (shown,) = drawn(*rows(), *rows(factor=0.75))
    table = shown.table
    assert table.columns["shift"] == ["brightness 0.5", "brightness 0.75"] * 4
    assert table.columns["head"] == [0.004, 0.004, 0.25, 0.25, 0.74, 0.74, 0.41, 0.41]
    numbers = shown.numbers
    assert len(numbers) == 16
    (pair,) = (
        n for n in numbers
        if (n["quantity"], n["layer"], n["factor"]) == ("paired difference", "head", 0.5)
    )  # fmt: skip
    assert (pair["value"], pair["ci_low"], pair["ci_high"], pair["level"]) == (
        *(0.41, 0.35, 0.45, 0.95),
    )
    assert "p_adjusted" not in pair
    assert {n["metric"] for n in numbers} == set(MEASURED)


def test_sentence_names_shifts_that_channels_do_not_show() -> None:
    (shown,) = drawn(*rows())
    assert tuple(shown.sentences) == (
        "resnet18 baseline, brightness 0.5 against original: at head the marginal distributions of "
        "channels agree (corrected Hellinger distance 0.00, p = 0.6), but the layer as a whole "
        "differs: covariance distance 0.25 (p = 0.005) and classifier accuracy 0.74 (p = 0.01); on "
        "average an activation changes by 0.41 standard deviations. This holds at 2 of 2 layers "
        "(enc1, head).",
    )


def test_the_shift_that_changes_covariances_most_is_named_first() -> None:
    small, great = rows(factor=0.9), rows(factor=0.75)
    for row in great:
        row["value"] += 0.1 * (row["metric"] == "covariance")
    found = drawn(*small, *great)[0].sentences
    assert [text.split(" against")[0][-4:] for text in found] == ["0.75", " 0.9"]


@pytest.mark.parametrize(
    "changed", [{"hellinger": {"p_adjusted": 0.01}}, {"covariance": {}, "classifier": {}}]
)
def test_no_sentence_if_channels_differ_or_nothing_does(
    changed: dict[str, dict[str, float]],
) -> None:
    found = rows()
    for row in found:
        if row["metric"] in changed:
            row.update(changed[row["metric"]] or {"p_adjusted": 0.3})
    (shown,) = drawn(*found)
    assert tuple(shown.sentences) == ()
    shown.draw()


def test_domains_and_plain_arrays_are_named() -> None:
    (shown,) = drawn(*(r for d in "bc" for r in rows(domain=d, shift="original", factor=None)))
    assert "other domains against a" in shown.title
    assert shown.table.columns["domain"][:2] == ["b original", "c original"]
    assert {"b", "c"} <= {text for text, _ in texts(shown)}
    plain = dict.fromkeys(
        ("shift", "reference_shift", "domain", "reference_domain", "dataset", "encoder", "pruning")
    )
    (arrays,) = drawn(*rows(**plain))
    assert arrays.title == "Channels and whole layers, against r.npy"
    assert "o.npy" in {text for text, _ in texts(arrays)}
    assert "o.npy against r.npy" in arrays.sentences[0]


def test_missing_layers_of_a_measure_are_empty() -> None:
    found = [row for row in rows() if (row["metric"], row["layer"]) != ("covariance", "head")]
    (shown,) = drawn(*found)
    assert shown.table.columns["head"][1] is None
    assert ("–", "normal") in texts(shown)
