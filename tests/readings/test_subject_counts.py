from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skiptool.metrics import KEYS, scores
from skiptool.names import ENSEMBLE_FOLD
from skiptool.readings.subject_counts import Network, subject_counts
from skiptool.records import ORIGINAL, Shift

PAIRS = [(a, b) for a in ("background", "cell") for b in ("background", "cell")]
PLAIN: dict[str, Any] = {
    **{"dataset": "d.zarr", "dataset_id": "d1", "domain": "a", "split": "test"},
    **{"arch": "unet", "encoder": "resnet18", "pruning": "baseline", "fold": 0, "model_id": "m0"},
    **{"shift": "original", "factor": None, "clean_skips": None, "subject": "s1"},
    "repeat": None,
}
COLUMNS = tuple(dict.fromkeys((*KEYS, "repeat", "subject", "pixels")))
BASELINE = Network("unet", "resnet18", "baseline", False, ORIGINAL)


def cells(*pixels: int, **facts: object) -> list[dict[str, Any]]:
    """Rows of one subject: pixels by truth and predicted class."""
    return [
        {**PLAIN, **facts, "truth": truth, "predicted": predicted, "pixels": count}
        for (truth, predicted), count in zip(PAIRS, pixels, strict=True)
    ]


def columns(*groups: list[dict[str, Any]]) -> dict[str, list[Any]]:
    rows = [row for group in groups for row in group]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def test_pixels_by_hand() -> None:
    """In both: 6 and 1; in either: 6 + 2 + 1 and 1 + 0 + 4; fold 1 lacks s1."""
    found = subject_counts(
        columns(
            cells(9, 2, 1, 6, subject="s2"),
            cells(9, 0, 4, 1, subject="s1"),
            cells(9, 0, 0, 3, subject="s2", fold=1, model_id="m1"),
        )
    )
    (counts,) = found
    facts = (counts.dataset, counts.dataset_id, counts.domain, counts.split)
    assert facts == ("d.zarr", "d1", "a", "test")
    assert (counts.classes, counts.subjects) == (("cell",), ("s1", "s2"))
    overlap = counts.networks[BASELINE]
    assert overlap.trainings == ((0, 0), (1, 0))
    np.testing.assert_array_equal(overlap.pixels[0], [[[1, 6], [0, 3]]])
    np.testing.assert_array_equal(overlap.pixels[1], [[[5, 9], [0, 3]]])
    np.testing.assert_array_equal(overlap.present, [[True, True], [False, True]])


def test_the_iou_is_that_of_the_scores() -> None:
    """Random pixels of three classes in two datasets: sums over subjects give the same IoU."""
    rng = np.random.default_rng(0)
    names = ("ground", "a", "b")
    rows = [
        {
            **{**PLAIN, "dataset_id": data, "pruning": pruning, "fold": fold, "model_id": model},
            **{"shift": "contrast", "factor": factor, "subject": subject},
            **{"truth": truth, "predicted": other, "pixels": int(rng.integers(0, 50))},
        }
        for data in ("d1", "d2")
        for pruning in ("L1-pruned", "baseline")
        for fold, model in ((1, "m1"), (0, "m0"))
        for factor in (0.5, 2.0)
        for subject in ("x", "q", "z")
        for truth in names
        for other in names
    ]
    totals = {name: [row[name] for row in rows] for name in COLUMNS}
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in KEYS)
        groups.setdefault(key, {**row, "pixels": 0})["pixels"] += row["pixels"]
    summed = list(groups.values())
    expected = scores({name: [row[name] for row in summed] for name in (*KEYS, "pixels")})
    found = {
        (counts.dataset_id, network.pruning, fold, network.shift): float(np.mean(both / either))
        for counts in subject_counts(totals)
        for network, overlap in counts.networks.items()
        for place, (fold, _) in enumerate(overlap.trainings)
        for both, either in [overlap.pixels[:, :, place].sum(axis=-1)]
    }
    assert len(found) == len(expected) == 16
    for score in expected:
        key = (score.dataset_id, score.pruning, score.fold, score.shift)
        np.testing.assert_allclose(found[key], score.miou)


def test_domains_splits_and_datasets_stand_apart() -> None:
    found = subject_counts(
        columns(
            cells(1, 0, 0, 1),
            cells(1, 0, 0, 2, domain="b", subject="s9"),
            cells(1, 0, 0, 3, split="train"),
            cells(1, 0, 0, 4, dataset_id="d2"),
            cells(1, 0, 0, 5, subject="s2"),
        )
    )
    assert [(one.dataset_id, one.domain, one.split) for one in found] == [
        *(("d1", "a", "test"), ("d1", "b", "test")),
        *(("d1", "a", "train"), ("d2", "a", "test")),
    ]
    assert [one.subjects for one in found] == [("s1", "s2"), ("s9",), ("s1",), ("s1",)]
    pixels = [one.networks[BASELINE].pixels[0].sum() for one in found]
    assert pixels == [6, 2, 3, 4]


def test_ensembles_shifts_and_architectures_are_networks_of_their_own() -> None:
    (counts,) = subject_counts(
        columns(
            cells(1, 0, 0, 1, fold=ENSEMBLE_FOLD),
            cells(1, 0, 0, 1),
            cells(1, 0, 0, 1, shift="brightness", factor=0.5),
            cells(1, 0, 0, 1, arch="linknet"),
        )
    )
    assert list(counts.networks) == [
        Network("unet", "resnet18", "baseline", True, ORIGINAL),
        BASELINE,
        Network("unet", "resnet18", "baseline", False, Shift.parse("brightness=0.5")),
        Network("linknet", "resnet18", "baseline", False, ORIGINAL),
    ]


def test_a_model_in_two_tables_counts_once_and_other_experiments_not_at_all() -> None:
    once = columns(cells(9, 2, 1, 6))
    other = columns(
        cells(9, 2, 1, 6), cells(9, 2, 1, 6), cells(9, 0, 9, 0, clean_skips="1", subject="s2")
    )
    (first,), (second,) = subject_counts(once), subject_counts(other)
    assert first.subjects == second.subjects
    np.testing.assert_array_equal(first.networks[BASELINE].pixels, second.networks[BASELINE].pixels)


def test_trainings_are_folds_and_repeats() -> None:
    (counts,) = subject_counts(
        columns(
            cells(9, 0, 0, 3, repeat=2, model_id="m2"),
            cells(9, 0, 0, 1),
            cells(9, 0, 0, 4, fold=1, repeat=0, model_id="m3"),
            cells(9, 0, 0, 2, repeat=1, model_id="m1"),
        )
    )
    overlap = counts.networks[BASELINE]
    assert overlap.trainings == ((0, 0), (0, 1), (0, 2), (1, 0))
    np.testing.assert_array_equal(overlap.pixels[0], [[[1], [2], [3], [4]]])


def test_further_models_of_a_fold_are_further_trainings() -> None:
    """As two runs with other seeds leave them: numbered by their ids, whatever their order."""
    groups = [cells(9, 2, 1, 6, repeat=1, model_id="m5"), cells(9, 0, 3, 5, model_id="m9")]
    groups += [cells(9, 0, 3, 4, model_id="m2", subject="s2"), cells(9, 0, 3, 3, model_id="m3")]
    for order in (groups, groups[::-1]):
        (counts,) = subject_counts(columns(*order))
        overlap = counts.networks[BASELINE]
        assert overlap.trainings == ((0, 0), (0, 1), (0, 2), (0, 3))
        np.testing.assert_array_equal(overlap.pixels[0, 0], [[0, 4], [6, 0], [3, 0], [5, 0]])
        assert overlap.present.tolist() == [[False, True], *[[True, False]] * 3]


def test_a_missing_repeat_is_the_first_one() -> None:
    """One model in a table from before repeats were recorded and in one that names them."""
    found = columns(cells(9, 2, 1, 6), cells(9, 2, 1, 6, repeat=0))
    (counts,) = subject_counts(found)
    assert counts.networks[BASELINE].trainings == ((0, 0),)


def test_a_fold_and_a_subject_may_have_no_name() -> None:
    (counts,) = subject_counts(
        columns(cells(1, 0, 0, 1, fold=None, subject=None), cells(1, 0, 0, 2, fold=3))
    )
    assert counts.networks[BASELINE].trainings == ((3, 0), (None, 0))
    assert counts.subjects == ("", "s1")


def test_an_empty_table_has_nothing() -> None:
    assert subject_counts(columns()) == []
    assert subject_counts(columns(cells(1, 0, 0, 1, clean_skips="1"))) == []


def test_rows_with_clean_skips_are_networks_of_their_own_where_they_are_asked_for() -> None:
    totals = columns(
        cells(9, 0, 2, 6, clean_skips="1"), cells(9, 0, 9, 0), cells(9, 0, 1, 7, clean_skips="2+3")
    )
    (counts,) = subject_counts(totals, substituted=True)
    assert list(counts.networks) == [
        replace(BASELINE, clean_skips="1"),
        BASELINE,
        replace(BASELINE, clean_skips="2+3"),
    ]
    found = [int(overlap.pixels[0].sum()) for overlap in counts.networks.values()]
    assert found == [6, 0, 7]
