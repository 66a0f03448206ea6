"""The script that checks the paper's claims: planted truths, falsehoods and noise."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

import simulated
from simulated import header, models
from skiptool.analysis.correlation import COLUMNS
from skiptool.analysis.differences import paired_differences
from skiptool.analysis.forecast import fit_losses
from skiptool.metrics import scores
from skiptool.names import Kind, ShiftKind
from skiptool.records import ORIGINAL, PAPER_SWEEP, Shift
from skiptool.stores.tables import TableWriter, write_table

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "paper"
SHIFTS = tuple(dict.fromkeys((ORIGINAL, *PAPER_SWEEP)))
SUBSTITUTED = [shift for shift in SHIFTS if shift.factor in (0, 0.5, 1.5) or
               shift.kind is ShiftKind.BRIGHTNESS]  # fmt: skip
IMAGES, CELLS, FOLDS = 8, 10_000, 6
PARTS = ("1", "2", "3", "4", "bottleneck")
REVERSE = {"+".join(other for other in PARTS if other != part): part for part in PARTS}
"""The part that alone is shifted, by the others' names."""


@pytest.fixture(scope="module")
def claims() -> Iterator[ModuleType]:
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module("claims")
    sys.path.remove(str(EXAMPLES))


def strength(shift: Shift) -> float:
    """Share of the IoU that a shift takes where nothing is clean; not that of saturation."""
    kept = {"brightness": 1.0, "contrast": 0.3, "saturation": 0.1}[shift.kind.value]
    return kept * min(1.5 * abs((shift.factor or 0.0) - 1), 0.75)


def truth(model: Mapping[str, Any], shift: Shift, clean: str | None) -> float:
    """IoU as the paper has it, and as if L1 carried each shift alone."""
    level = int(model["model"].split("-L")[1][0])
    found = (0.9, 0.92, 0.88, 0.88, 0.8)[level]
    if shift == ORIGINAL:
        return found
    lost = strength(shift) * (1.0 if level == 0 else 0.9)
    if clean in REVERSE:
        lost *= 0.9 if REVERSE[clean] == "1" else 0.1
    elif clean == "1":
        lost *= 0.05
    if model["encoder"] == "resnet34" and shift.factor != 0.5:
        lost *= 0.9
    return found * (1 - lost)


def false(model: Mapping[str, Any], shift: Shift, clean: str | None) -> float:
    """IoU that is the other way round in every respect."""
    level = int(model["model"].split("-L")[1][0])
    found = (0.6, 0.4, 0.45, 0.45, 0.7)[level]
    if model["encoder"] == "resnet34" and level > 1:
        found -= 0.05
    if shift == ORIGINAL:
        return found
    part = REVERSE.get(clean or "", clean)
    found += 0.1 * strength(shift)
    return found + 0.1 * (part == "1") * (1 if clean in REVERSE else -1)


Truth = Callable[[Mapping[str, Any], Shift, str | None], float]


def predictions(
    path: Path,
    iou: Truth = truth,
    noise: float = 0.001,
    cleans: bool = True,
    folds: int = FOLDS,
    between: float = 0.001,
) -> Path:
    """Write a table; trainings vary by ``between``, and images within them by ``noise``."""
    rng = np.random.default_rng(1)
    with TableWriter(path, header(Kind.PREDICTIONS, path)) as table:
        for model, shift in product(models(folds), SHIFTS):
            cleaned = cleans and shift in SUBSTITUTED and model["pruning"] == "baseline"
            for clean in (None, *((*PARTS, *REVERSE) if cleaned else ())):
                off = rng.normal(0, noise, IMAGES) + rng.normal(0, between)
                both = (np.clip(iou(model, shift, clean) + off, 0, 1) * CELLS).astype(int)
                counts = np.stack([both * 0 + 99, both * 0, CELLS - both, both], axis=1)
                names = np.repeat([f"s{k}" for k in range(IMAGES)], 4)
                columns = {
                    **model,
                    **{"dataset": "d", "dataset_id": "d", "domain": "a", "split": "test"},
                    **{"shift": shift.kind.value, "factor": shift.factor, "clean_skips": clean},
                    **{"sample": names, "subject": names, "pixels": counts.ravel()},
                    "truth": ["background", "background", "cell", "cell"] * IMAGES,
                    "predicted": ["background", "cell"] * 2 * IMAGES,
                }
                table.append(columns, 4 * IMAGES)
    return path


def distance(model: Mapping[str, Any], layer: str) -> float:
    """Distance as the paper has it."""
    level = int(model["model"].split("-L")[1][0])
    found = {"enc1": 0.6, "enc2": 0.5, "enc3": 0.4, "enc4": 0.3, "enc5": 0.2}
    decoder = (0.27, 0.26, 0.23, 0.225, 0.22)[level]
    return found.get(layer, decoder) * (0.8 if model["encoder"] == "resnet34" and level > 1 else 1)


def reversed_distance(model: Mapping[str, Any], layer: str) -> float:
    """Distance that is the other way round in every respect."""
    level = int(model["model"].split("-L")[1][0])
    found = {"enc1": 0.2, "enc2": 0.3, "enc3": 0.4, "enc4": 0.5, "enc5": 0.6}
    decoder = (0.5, 0.51, 0.54, 0.55, 0.56)[level]
    return found.get(layer, decoder) * (1.2 if model["encoder"] == "resnet34" and level > 1 else 1)


INNER = tuple(f"enc{k}" for k in range(1, 6)) + tuple(f"dec{k}" for k in range(5))


def distances(
    path: Path,
    of: Callable[[Mapping[str, Any], str], float] = distance,
    error: float = 0.002,
    bins: int = 100,
    folds: int = FOLDS,
    **further: str | None,
) -> Path:
    rows: dict[str, list[Any]] = {}
    for model, layer in product(models(folds), INNER):
        mean = of(model, layer)
        row = {
            **model,
            **{"reference": "r", "reference_id": model["model_id"], "other": "o"},
            **{"other_id": f"o{model['model_id']}", "dataset": "d", "reference_domain": "a"},
            **{"reference_shift": "original", "domain": "a", "shift": "brightness"},
            **{"factor": 0.75, "layer": layer, "metric": "hellinger", "bins": bins},
            **{"value": mean, "corrected": mean},
            **{"ci_low": max(mean - error, 0.0), "ci_high": mean + error},
            **{"range_rule": "minmax", "n_other": IMAGES},
            **further,
        }
        for name, each in row.items():
            rows.setdefault(name, []).append(each)
    write_table(path, header(Kind.SHIFT, path), rows, len(rows["layer"]))
    return path


def evidence_of(claims: ModuleType, *tables: Path) -> Any:  # noqa: ANN401 - a class of the script
    return claims.Evidence.read(claims.read_inputs(tables))


def verdicts(claims: ModuleType, *tables: Path, tested: bool = True) -> dict[str, tuple[str, ...]]:
    """First words of the cells of each claim, in the order of encoders."""
    text = claims.table_of(evidence_of(claims, *tables))
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    found = {}
    for claim, row in zip(claims.CLAIMS, rows[1:], strict=True):
        cells = row[-1:] if claim.across else row[2:]
        if claim.tested == tested:
            shown = (cell.split("**")[1] if "**" in cell else cell for cell in cells)
            found[f"{claim.says}: {claim.measured}"] = tuple(shown)
    assert sum(claim.tested == tested for claim in claims.CLAIMS) == len(found)
    return found


ONLY_34 = "less affected by the strongest darkening"


@pytest.mark.long
def test_what_is_as_the_paper_says_agrees(claims: ModuleType, tmp_path: Path) -> None:
    tables = predictions(tmp_path / "p.parquet"), distances(tmp_path / "s.parquet")
    found = verdicts(claims, *tables)
    (only,) = [says for says in found if ONLY_34 in says]
    assert found.pop(only) == ("not measured", "agrees")
    assert set(found.values()) == {("agrees", "agrees"), ("agrees",)}


@pytest.mark.long
def test_what_is_not_disagrees(claims: ModuleType, tmp_path: Path) -> None:
    tables = (
        predictions(tmp_path / "p.parquet", false),
        distances(tmp_path / "s.parquet", reversed_distance),
    )
    found = verdicts(claims, *tables)
    (only,) = [says for says in found if ONLY_34 in says]
    assert found.pop(only) == ("not measured", "disagrees")
    assert set(found.values()) == {("disagrees", "disagrees"), ("disagrees",)}


@pytest.mark.long
def test_trainings_that_vary_decide_nothing(claims: ModuleType, tmp_path: Path) -> None:
    """All architectures alike, images nearly so; in the last version that decided most rows."""

    def same(_: Mapping[str, Any], shift: Shift, __: str | None) -> float:
        return 0.9 if shift == ORIGINAL else 0.6

    table = predictions(tmp_path / "p.parquet", same, between=0.05, folds=3)
    found = {
        says: cells
        for says, cells in verdicts(claims, table).items()
        if set(cells) != {"not measured"} and "perform best in domain" not in says
    }
    assert len(found) > 10
    cells = [cell for each in found.values() for cell in each if cell != "not measured"]
    assert set(cells) == {"not decided"}


def test_one_training_decides_nothing(claims: ModuleType, tmp_path: Path) -> None:
    tables = (
        predictions(tmp_path / "p.parquet", folds=1, between=0.0),
        distances(tmp_path / "s.parquet", folds=1),
    )
    found = verdicts(claims, *tables)
    assert {cell for cells in found.values() for cell in cells} == {
        *("not decided (one training)", "not measured")
    }
    text = claims.table_of(evidence_of(claims, *tables))
    assert "over the 0 numbers that are tested" in text
    assert "p =" not in text.partition("|")[2]


@pytest.mark.long
def test_p_values_count_all_that_is_tested(claims: ModuleType, tmp_path: Path) -> None:
    """Holm over all rows and encoders: as many as the text says."""
    tables = predictions(tmp_path / "p.parquet"), distances(tmp_path / "s.parquet")
    text = claims.table_of(evidence_of(claims, *tables))
    tested = sum("**" in cell for line in text.splitlines() for cell in line.split(" | "))
    assert f"over the {tested} numbers that are tested" in text
    worst = claims.Evidence.read(claims.read_inputs(tables[:1]))
    raw = claims.brightness_is_worst(worst, "resnet18").p_value
    assert raw < 0.001


def test_each_statement_has_one_row_and_what_is_clinical_is_named(claims: ModuleType) -> None:
    said = [claim.says for claim in claims.CLAIMS]
    assert len(set(said)) == len(said)
    for part in ("MS-MF", "MS-CCT", "8 to 12 %", "3 to 5 %", "MV-MR", "17 %", "10 %", "13 %"):
        assert part in claims.CLINICAL
    for part in ("0.90 against 0.86", "0.91 against 0.82", "0.86 against 0.77"):
        assert any(part in says for says in said)


@pytest.mark.long
def test_what_was_not_measured_is_not_judged(claims: ModuleType, tmp_path: Path) -> None:
    found = verdicts(claims, distances(tmp_path / "s.parquet"))
    assert set(found.values()) == {
        *(("not measured", "not measured"), ("not measured",)),
        *(("agrees", "agrees"), ("agrees",)),
    }
    assert sum(cells[-1] == "agrees" for cells in found.values()) == 7
    found = verdicts(claims, predictions(tmp_path / "p.parquet", cleans=False))
    there = {says for says, cells in found.items() if set(cells) == {"not measured"}}
    assert len(there) == 7 + 4  # of distances and of substitution


@pytest.mark.long
def test_an_iou_is_that_of_the_pixels(claims: ModuleType, tmp_path: Path) -> None:
    """Against a loop over the rows; without each image against those of the others."""
    inputs = claims.read_inputs([predictions(tmp_path / "p.parquet", noise=0.05)])
    evidence = claims.Evidence.read(inputs)
    totals = inputs.totals("subject")
    both: dict[str, int] = {}
    either: dict[str, int] = {}
    names = ("encoder", "pruning", "fold", "shift", "factor", "clean_skips")
    for place, pixels in enumerate(totals["pixels"]):
        of = tuple(totals[name][place] for name in names)
        if of == ("resnet34", "L2-pruned", 1, "contrast", 1.5, None):
            pair = (totals["truth"][place], totals["predicted"][place])
            image = totals["subject"][place]
            both[image] = both.get(image, 0) + pixels * (pair == ("cell", "cell"))
            either[image] = either.get(image, 0) + pixels * ("cell" in pair)
    found = evidence.iou("resnet34", "L2-pruned", Shift.parse("contrast=1.5"))[1, 0]
    assert found[0] == pytest.approx(sum(both.values()) / sum(either.values()))
    for place, name in enumerate(sorted(both)):
        rest = [sum(part[other] for other in part if other != name) for part in (both, either)]
        assert found[place + 1] == pytest.approx(rest[0] / rest[1])


@pytest.mark.long
def test_a_number_is_analysed_over_trainings_and_images(claims: ModuleType, tmp_path: Path) -> None:
    """As the comparison of the report is: the same value, interval and p-value."""
    table = predictions(tmp_path / "p.parquet", cleans=False, between=0.02, noise=0.05)
    inputs = claims.read_inputs([table])
    measure = claims.against(["L1-pruned"], ["baseline"], [ORIGINAL])
    found = measure(claims.Evidence.read(inputs), "resnet34")
    reported = {
        (one.encoder, one.pruning, one.shift): one
        for one in paired_differences(inputs.totals("subject"))
    }
    one = reported["resnet34", "L1-pruned", ORIGINAL]
    assert found.value == pytest.approx(one.value)
    assert found.p_value == pytest.approx(one.p_value)
    assert (found.found.ci_low, found.found.ci_high) == pytest.approx((one.ci_low, one.ci_high))
    assert found.trainings == pytest.approx(one.by_training)


@pytest.mark.long
def test_statistics_are_those_of_the_planted_numbers(claims: ModuleType, tmp_path: Path) -> None:
    """Against plain loops over what was planted, without noise."""
    table = predictions(tmp_path / "p.parquet", noise=0.0, between=0.0, folds=2)
    evidence = evidence_of(claims, table)
    facts = {(each["encoder"], each["pruning"]): each for each in models(1)}
    k = {0: "baseline", **{level: f"L{level}-pruned" for level in range(1, 5)}}

    def planted(pruning: str, shift: str, clean: str | None = None, size: int = 18) -> float:
        return truth(facts[f"resnet{size}", pruning], Shift.parse(shift), clean)

    names = list(map(str, PAPER_SWEEP))
    kinds: dict[str, list[float]] = {}
    for name in names[1:]:
        loss = planted("baseline", "original") - planted("baseline", name)
        kinds.setdefault(name.split("=")[0], []).append(loss)
    lost = {kind: sum(each) / len(each) for kind, each in kinds.items()}
    whole = {level: sum(planted(k[level], name) for name in names) / len(names) for level in k}
    shifted = {
        level: sum(planted(k[level], name) for name in names[1:]) / (len(names) - 1) for level in k
    }
    steps = [("brightness", (0.75, 0.5)), ("brightness", (1.25, 1.5)), ("brightness", (1.5, 1.75))]
    steps += [("contrast", each) for _, each in steps]
    steps += [("saturation", each) for each in ((0.75, 0.5), (0.5, 0.25), (0.25, 0))]
    falls = [
        planted(k[level], f"{kind}={near:g}") - planted(k[level], f"{kind}={far:g}")
        for level in k
        for kind, (near, far) in steps
    ]
    dark = [
        planted(k[level], "brightness=0.75", size=34) - planted(k[level], "brightness=0.75")
        for level in (2, 3, 4)
    ]

    def parts(name: str, clean: Mapping[str, str]) -> dict[str, float]:
        return {part: planted("baseline", name, of) for part, of in clean.items()}

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    brighter = ("brightness=1.25", "brightness=1.5", "brightness=1.75")
    alone = [parts(name, {part: part for part in PARTS}) for name in brighter]
    costs = [parts(name, {part: of for of, part in REVERSE.items()}) for name in brighter]
    expected = {
        claims.brightness_is_worst: lost["brightness"] - max(lost["contrast"], lost["saturation"]),
        claims.best_of_all: whole[1] - max(whole[0], whole[2], whole[3], whole[4]),
        claims.best_in_domain: mean(
            [planted(k[level], "original") - shifted[level] for level in k]
        ),
        claims.falls_with_strength: mean(falls),
        claims.larger_is_better: mean(dark),
        claims.relative_fall: 0.75,
        claims.against(["L1-pruned"], ["baseline"]): shifted[1] - shifted[0],
        claims.overall(["L1-pruned"], [k[2], k[3], k[4]]): whole[1]
        - (whole[2] + whole[3] + whole[4]) / 3,
        claims.enough([Shift.parse(name) for name in brighter]): mean(
            [found["1"] - max(found[part] for part in PARTS[1:]) for found in alone]
        ),
        claims.carries([Shift.parse(name) for name in brighter]): mean(
            [min(found[part] for part in PARTS[1:]) - found["1"] for found in costs]
        ),
    }
    for measure, value in expected.items():
        assert measure(evidence, "resnet18").value == pytest.approx(value, abs=2e-4)


def test_statistics_of_layers_are_those_of_the_planted_numbers(
    claims: ModuleType, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    drawn: dict[tuple[str, str], float] = {}

    def of(model: Mapping[str, Any], layer: str) -> float:
        return drawn.setdefault((model["encoder"] + model["pruning"], layer), rng.uniform(0.1, 0.9))

    evidence = evidence_of(claims, distances(tmp_path / "s.parquet", of, folds=2))
    names = ("baseline", *(f"L{k}-pruned" for k in range(1, 5)))
    nets = [{layer: drawn[f"resnet18{name}", layer] for layer in INNER} for name in names]
    large = [{layer: drawn[f"resnet34{name}", layer] for layer in INNER} for name in names]
    decoder = np.array([[net[layer] for layer in INNER[5:]] for net in nets]).mean(axis=1)
    rise = decoder - [net["enc5"] for net in nets]
    levels = np.array([[net[layer] for layer in INNER[:5]] for net in nets])
    others = np.array([[net[layer] for layer in INNER if layer != "enc5"] for net in nets])
    every = [np.mean([[n[layer] for layer in INNER] for n in of[2:]]) for of in (nets, large)]
    expected = {
        "highest at the first": (levels[:, 0] - levels[:, 1:].max(axis=1)).mean(),
        "falls gradually": (-np.diff(levels, axis=1)).min(axis=1).mean(),
        "lowest after": (others.min(axis=1) - levels[:, 4]).mean(),
        "rises slightly": rise[:2].mean(),
        "not in the other": rise[:2].mean() - rise[2:].mean(),
        "deeper layers": -np.polyfit(range(5), decoder, 1)[0],
        "have lower distances": every[0] - every[1],
    }
    for words, value in expected.items():
        (claim,) = [claim for claim in claims.CLAIMS if words in claim.says]
        found = claim.measure(evidence, "resnet18")
        assert found.value == pytest.approx(value), words
        assert found.trainings == pytest.approx([value] * 2)


def test_a_network_that_finds_nothing_cannot_fall(claims: ModuleType, tmp_path: Path) -> None:
    def dead(model: Mapping[str, Any], shift: Shift, clean: str | None) -> float:
        return 0.0 if model["pruning"] == "L4-pruned" else truth(model, shift, clean)

    table = predictions(tmp_path / "p.parquet", dead, noise=0.0, between=0.0, folds=2)
    found = claims.relative_fall(evidence_of(claims, table), "resnet18")
    assert found.value == pytest.approx(0.75, abs=2e-4)
    assert (
        found.note
        == "; all networks: brightness=0.5 0.675 to 0.750, brightness=1.75 0.675 to 0.750"
    )


def test_an_interval_that_is_cut_says_its_longer_half(claims: ModuleType, tmp_path: Path) -> None:
    """Levels at 0.05 of an error of 0.1 / 1.96 each: the difference has the root of 2 of it."""
    evidence = evidence_of(claims, distances(tmp_path / "s.parquet", lambda *_: 0.05, error=0.1))
    layers = evidence.distances.layers("resnet18", "baseline")
    assert layers[0, 0]["enc1"][1] == pytest.approx(0.1 / 1.96)
    (claim,) = [claim for claim in claims.CLAIMS if "highest at the first" in claim.says]
    found = claim.measure(evidence, "resnet18")
    error = 0.1 / 1.96 * np.sqrt(2)
    assert found.found.se_subjects == pytest.approx(error)
    assert found.found.ci_high == pytest.approx(error * stats.t.ppf(0.975, IMAGES - 1))


def test_a_model_without_a_fold_stands_beside_those_with_one(
    claims: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a folder does that segmentation-models-pytorch wrote."""
    without = [each | ({"fold": None} if each["fold"] == 1 else {}) for each in models(FOLDS)]
    monkeypatch.setattr(sys.modules[__name__], "models", lambda _: without)
    evidence = evidence_of(claims, distances(tmp_path / "s.parquet"))
    (claim,) = [claim for claim in claims.CLAIMS if "have lower distances" in claim.says]
    found = claim.measure(evidence, "resnet34")
    facts = [
        each
        for each in models(FOLDS)
        if each["encoder"] == "resnet18" and each["pruning"] not in ("baseline", "L1-pruned")
    ]
    mean = np.mean([distance(model, layer) for model in facts for layer in INNER])
    assert found.trainings == pytest.approx([mean * 0.2] * FOLDS)


@pytest.mark.long
@pytest.mark.parametrize(
    "further", [{"ci_low": None, "ci_high": None}, {"reference_domain": "another"}]
)
def test_what_has_no_interval_or_another_domain_is_passed_over(
    claims: ModuleType, tmp_path: Path, further: Mapping[str, Any]
) -> None:
    table = predictions(tmp_path / "p.parquet", cleans=False)
    passed = distances(tmp_path / "passed.parquet", **further)
    assert verdicts(claims, table, passed) == verdicts(claims, table)
    whole = distances(tmp_path / "s.parquet")
    assert verdicts(claims, whole, passed) == verdicts(claims, whole)


def cells(text: str, *first: str) -> list[str]:
    """Return the cells of the row that begins with these."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()]
    (found,) = [row for row in rows if row[: len(first)] == list(first)]
    return found[len(first) :]


@pytest.mark.long
def test_substitution_is_laid_out_by_shift_and_part(claims: ModuleType, tmp_path: Path) -> None:
    """Both directions; every shift that is asked for has its row."""

    def iou(_: Mapping[str, Any], shift: Shift, clean: str | None) -> float:
        if shift == ORIGINAL:
            return 0.9
        parts = {None: 0.3, "1": 0.8, "2": 0.5, "3": 0.4, "4": 0.35, "bottleneck": 0.31}
        parts |= {of: 0.9 - 0.1 * (place + 1) for place, of in enumerate(REVERSE)}
        return parts[clean] - 0.1 * (shift.kind.value == "contrast")

    text = claims.everything([predictions(tmp_path / "p.parquet", iou, folds=2)], [])
    _, clean, shifted = text.split("| | shift |")
    for kind, less in (("brightness", 0.0), ("contrast", 0.1)):
        for table, expected in (
            (clean, [0.3, 0.8, 0.5, 0.4, 0.35, 0.31, 0.4]),
            (shifted, [-0.6, -0.1, -0.2, -0.3, -0.4, -0.5]),
        ):
            found = cells(table, "resnet34", f"{kind}=0.5")
            values = [float(cell.split(" ")[0].replace("−", "-")) for cell in found]
            np.testing.assert_allclose(values, np.array(expected) - less, atol=0.006)
            low, high = map(float, found[1].split("[")[1].strip("]").replace("−", "-").split(", "))
            assert low <= values[1] <= high
    for shift in ("brightness=1.75", "contrast=1.5", "saturation=0", "saturation=0.5"):
        assert len(cells(clean, "resnet18", shift)) == 7
    plain = claims.everything([predictions(tmp_path / "q.parquet", cleans=False)], [])
    assert "nothing clean" not in plain


def test_a_shift_that_was_not_substituted_is_said_to_be_missing(
    claims: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = (ORIGINAL, Shift.parse("brightness=0.5"))
    monkeypatch.setattr(sys.modules[__name__], "SHIFTS", fewer)
    text = claims.everything([predictions(tmp_path / "p.parquet", folds=1)], [])
    clean = text.split("| | shift |")[1]
    assert cells(clean, "resnet18", "brightness=1.75") == ["not measured"] * 7
    assert "not measured" not in cells(clean, "resnet18", "brightness=0.5")


@pytest.mark.long
def test_the_forecast_is_that_of_the_report(claims: ModuleType, tmp_path: Path) -> None:
    scored, measured = tmp_path / "v.parquet", tmp_path / "s.parquet"
    simulated.predictions(scored, ["A"], SHIFTS, 6, folds=2)
    simulated.distances(measured, SHIFTS, "A", folds=2)
    dark = distances(tmp_path / "dark.parquet")  # of another dataset, for the claims
    text = claims.everything([dark], [scored, measured])
    inputs = claims.read_inputs([scored, measured])
    layers = inputs.shifts[0].where_null("channel").columns(COLUMNS)
    fits = fit_losses(scores(inputs.totals()), layers)
    assert "of\nthe test images." in text
    assert len(fits) == 10
    for fit in fits:
        who = f"{fit.kin.encoder} {fit.pruning}"
        assert cells(text, who, "mean of the kinds")[1] == f"{fit.error:.2f}"
        kinds = {held.kind: held for held in fit.cross_validation.held}
        assert cells(text, who, "contrast")[2] == f"{kinds['contrast'].error_of_mean:.2f}"
    assert "left out" not in claims.everything([dark], [])


@pytest.mark.slow
def test_the_experiment_ends_in_its_claims(tmp_path: Path) -> None:
    """The whole script at the least scale; a second call finds all of it there."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    scale = {"IMAGES": "15", "SIZE": "64", "EPOCHS": "1", "ENCODERS": "resnet18", "FOLDS": "0"}
    scale |= {"REPEATS": "1", "SUBSTITUTE": "0", "DISTANCES": "brightness=0.75 contrast=0.5"}
    command = ["bash", str(EXAMPLES / "paper_synthetic.sh"), str(tmp_path / "run")]
    env = os.environ | scale | {"WEIGHTS": "none", "PATH": path}
    for _ in range(2):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path / "run" / "claims.md").read_text()
    assert text.startswith(
        "15 images of 64 px, resnet18, folds 0, repeats 1, 1 epochs, weights none."
    )
    assert "3 test images; trainings: resnet18 1." in text
    assert "**agrees**" not in text
    assert "| resnet18 | brightness=1.75 |" in text
    assert text.count("| | shift |") == 2
    assert (tmp_path / "run" / "forecast.html").is_file()
    assert "decoder-inputs-" in (tmp_path / "run" / "report.html").read_text()


def test_the_table_goes_between_the_marks(
    claims: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, table = tmp_path / "README.md", distances(tmp_path / "s.parquet")
    page.write_text(f"before\n{claims.BEGIN}\nold\n{claims.END}\nafter\n")
    assert claims.main([str(table), "--into", str(page)]) == 0
    printed = capsys.readouterr().out.strip()
    assert page.read_text() == f"before\n{claims.BEGIN}\n{printed}\n{claims.END}\nafter\n"
    page.write_text("no marks")
    assert claims.main([str(table), "--into", str(page)]) == 1
    assert "has not one line" in capsys.readouterr().err
    assert page.read_text() == "no marks"
    assert claims.main([str(tmp_path / "none.parquet")]) == 1
    assert "none.parquet" in capsys.readouterr().err


def test_a_link_stays_a_link_and_a_file_its_mode(claims: ModuleType, tmp_path: Path) -> None:
    page, link = tmp_path / "README.md", tmp_path / "link.md"
    page.write_text(f"{claims.BEGIN}\n{claims.END}\n")
    page.chmod(0o640)
    link.symlink_to(page)
    table = distances(tmp_path / "s.parquet")
    assert claims.main([str(table), "--into", str(link)]) == 0
    assert link.is_symlink()
    assert page.stat().st_mode & 0o777 == 0o640
    assert "Brightness is the worst shift" in page.read_text()


def test_what_cannot_be_judged_is_one_line(
    claims: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = distances(tmp_path / "s.parquet")
    coarse = distances(tmp_path / "coarse.parquet", bins=50)
    cut = distances(tmp_path / "cut.parquet", range_rule="p0.1")
    again = distances(tmp_path / "again.parquet", model_id="of another training")
    binary = tmp_path / "page.md"
    binary.write_bytes(b"\xff\xfe")
    others = [each | {"arch": "linknet"} for each in models(FOLDS)]
    monkeypatch.setattr(sys.modules[__name__], "models", lambda _: others)
    elsewhere = distances(tmp_path / "linknet.parquet")
    cases = {
        "no predictions of a U-net": [elsewhere],
        "(d a in 100 bins, range minmax; d a in 50 bins, range minmax)": [table, coarse],
        "(d a in 100 bins, range minmax; d a in 100 bins, range p0.1)": [table, cut],
        "two models that are resnet18, baseline, fold 0": [table, again],
        "is not text in UTF-8": [table, "--into", binary],
    }
    for says, arguments in cases.items():
        assert claims.main([str(each) for each in arguments]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("claims: ")
        assert says in err
        assert err.count("\n") == 1
    assert binary.read_bytes() == b"\xff\xfe"
