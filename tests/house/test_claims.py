"""The script that checks the paper's claims: planted truths, falsehoods and noise."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import simulated
from simulated import header, models
from skiptool.metrics.scores import scores
from skiptool.names import Kind
from skiptool.readings.forecast import fit_losses
from skiptool.readings.joined import COLUMNS
from skiptool.records import ORIGINAL, PAPER_SWEEP, Shift
from skiptool.stores.table_writer import TableWriter, write_table

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHIFTS = tuple(dict.fromkeys((ORIGINAL, *PAPER_SWEEP)))
IMAGES, CELLS, FOLDS = 16, 10_000, 2
LEVELS = {"enc1": 0.6, "enc2": 0.5, "enc3": 0.4, "enc4": 0.3, "enc5": 0.2}
LEVELS |= {"dec4": 0.2, "dec3": 0.2, "dec2": 0.2, "dec1": 0.2, "dec0": 0.2}


@pytest.fixture(scope="module")
def claims() -> Iterator[ModuleType]:
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module("claims")
    sys.path.remove(str(EXAMPLES))


def truth(model: Mapping[str, Any], shift: Shift, clean: str | None) -> float:
    """IoU as the paper has it."""
    level = int(model["model"].split("-L")[1][0])
    found = {0: 0.9, 1: 0.92, 4: 0.8}.get(level, 0.88)
    if shift == ORIGINAL:
        return found
    kept = {"brightness": 1.0, "contrast": 0.3, "saturation": 0.1}[shift.kind.value]
    lost = kept * (0.75 if shift.factor == 0.5 else 0.4) * (0.05 if clean == "1" else 1.0)
    lost *= 1.0 if level == 0 else 0.9
    if model["encoder"] == "resnet34" and shift.factor != 0.5:
        lost *= 0.9
    own = found * (1 - lost)
    if model["encoder"] == "resnet34" and level > 1:  # half as far from the baseline
        own = (own + truth(model | {"model": "m-L0"}, shift, clean)) / 2
    return own


Truth = Callable[[Mapping[str, Any], Shift, str | None], float]


def predictions(path: Path, iou: Truth = truth, noise: float = 0.001, cleans: bool = True) -> Path:
    rng = np.random.default_rng(1)
    with TableWriter(path, header(Kind.PREDICTIONS, path)) as table:
        for model, shift in product(models(FOLDS), SHIFTS):
            parts = ["1", "2", "3", "4", "bottleneck"]
            cleaned = cleans and shift != ORIGINAL and model["pruning"] == "baseline"
            for clean in (None, *(parts if cleaned else ())):
                off = rng.normal(0, noise, IMAGES)
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


def distances(
    path: Path,
    levels: Mapping[str, float] = LEVELS,
    error: float = 0.01,
    bins: int = 100,
    **further: str | None,
) -> Path:
    rows: dict[str, list[Any]] = {}
    for model, (layer, value) in product(models(FOLDS), levels.items()):
        better = model["encoder"] == "resnet34" and model["pruning"] != "baseline"
        mean = value * (0.8 if better else 1.0)
        row = {
            **model,
            **{"reference": "r", "reference_id": model["model_id"], "other": "o"},
            **{"other_id": f"o{model['model_id']}", "dataset": "d", "reference_domain": "a"},
            **{"reference_shift": "original", "domain": "a", "shift": "brightness"},
            **{"factor": 0.75, "layer": layer, "metric": "hellinger", "bins": bins},
            **{
                "value": mean,
                "corrected": mean,
                "ci_low": max(mean - error, 0.0),
                "ci_high": mean + error,
            },
            **{"range_rule": "minmax", "n_other": IMAGES},
            **further,
        }
        for name, each in row.items():
            rows.setdefault(name, []).append(each)
    write_table(path, header(Kind.SHIFT, path), rows, len(rows["layer"]))
    return path


def verdicts(claims: ModuleType, *tables: Path) -> dict[str, tuple[str, ...]]:
    """First words of the cells of each claim, in the order of encoders."""
    text = claims.table_of(claims.Evidence(claims.read_inputs(tables), 0))
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    found = {}
    for claim, row in zip(claims.CLAIMS, rows[1:], strict=True):
        cells = row[-1:] if claim.across else row[2:]
        found[claim.says] = tuple(cell.split("**")[1] if "**" in cell else cell for cell in cells)
    return found


def test_what_is_as_the_paper_says_agrees(claims: ModuleType, tmp_path: Path) -> None:
    tables = predictions(tmp_path / "p.parquet"), distances(tmp_path / "s.parquet")
    found = verdicts(claims, *tables)
    assert set(found.values()) == {("agrees", "agrees"), ("agrees",)}


def test_what_is_not_disagrees(claims: ModuleType, tmp_path: Path) -> None:
    def other(model: Mapping[str, Any], shift: Shift, clean: str | None) -> float:
        """All is the other way round, and nothing falls far."""
        level = int(model["model"].split("-L")[1][0])
        found = (0.9, 0.8, 0.85, 0.85, 0.95)[level]
        worst = {"brightness": 0.1, "contrast": 0.3, "saturation": 0.2}
        lost = 0.0 if shift == ORIGINAL or clean == "2" else worst[shift.kind.value]
        if model["encoder"] == "resnet34" and level > 1:
            found -= 0.1
        return found * (1 - lost)

    flat = {layer: 1 - value for layer, value in LEVELS.items()}
    tables = predictions(tmp_path / "p.parquet", other), distances(tmp_path / "s.parquet", flat)
    found = verdicts(claims, *tables)
    lower = [says for says in found if "have lower distances" in says]
    assert {found.pop(says) for says in lower} == {("agrees",)}  # which these numbers still say
    pruned = {("disagrees", "disagrees"), ("disagrees",)}
    l4 = next(says for says in found if says.startswith("L4"))
    assert found.pop(l4)[0] == "disagrees"
    assert set(found.values()) == pruned


def test_noise_decides_nothing(claims: ModuleType, tmp_path: Path) -> None:
    def same(_: Mapping[str, Any], shift: Shift, __: str | None) -> float:
        return 0.9 if shift == ORIGINAL else 0.3

    tables = (
        predictions(tmp_path / "p.parquet", same, noise=0.15),
        distances(tmp_path / "s.parquet", dict.fromkeys(LEVELS, 0.3), error=0.2),
    )
    found = verdicts(claims, *tables)
    undecided = [cell == "not decided" for cells in found.values() for cell in cells]
    assert np.mean(undecided) > 0.7


def test_what_was_not_measured_is_not_judged(claims: ModuleType, tmp_path: Path) -> None:
    found = verdicts(claims, distances(tmp_path / "s.parquet"))
    of_iou = [cells for says, cells in found.items() if "istance" not in says and "..." not in says]
    assert {cell for cells in of_iou for cell in cells} == {"not measured"}
    found = verdicts(claims, predictions(tmp_path / "p.parquet", cleans=False))
    there = {says for says, cells in found.items() if "not measured" in cells}
    assert len(there) == 5
    assert any("uppermost skip" in says for says in there)


def test_an_iou_is_that_of_the_pixels(claims: ModuleType, tmp_path: Path) -> None:
    """Against a loop over the rows, and resamples against the same images drawn one by one."""
    inputs = claims.read_inputs([predictions(tmp_path / "p.parquet", noise=0.05)])
    evidence = claims.Evidence(inputs, 3)
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
    found = evidence.iou("resnet34", "L2-pruned", Shift.parse("contrast=1.5"))[1]
    assert found[0] == pytest.approx(sum(both.values()) / sum(either.values()))
    rng = np.random.default_rng([3, IMAGES])
    drawn = rng.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=2000)
    order = sorted(both)
    for row in (0, 1999):
        sums = [sum(n * part[k] for n, k in zip(drawn[row], order, strict=True))
                for part in (both, either)]  # fmt: skip
        assert found[row + 1] == pytest.approx(sums[0] / sums[1])


def test_statistics_are_those_of_the_planted_numbers(claims: ModuleType, tmp_path: Path) -> None:
    """Against plain loops over what was planted, without noise."""
    table = predictions(tmp_path / "p.parquet", noise=0.0)
    evidence = claims.Evidence(claims.read_inputs([table]), 0)
    facts = {(each["encoder"], each["pruning"]): each for each in models(1)}

    def planted(size: str, pruning: str, shift: str, clean: str | None = None) -> float:
        return truth(facts[size, pruning], Shift.parse(shift), clean)

    lost: dict[str, list[float]] = {}
    for shift in PAPER_SWEEP[1:]:
        loss = planted("resnet18", "baseline", "original") - planted(
            "resnet18", "baseline", str(shift)
        )
        lost.setdefault(shift.kind.value, []).append(loss)
    mean = {kind: sum(each) / len(each) for kind, each in lost.items()}
    dark, near = "brightness=0.75", {}
    for size in ("resnet18", "resnet34"):
        own = planted(size, "baseline", dark)
        near[size] = sum(abs(planted(size, f"L{k}-pruned", dark) - own) for k in (2, 3, 4)) / 3
    better = sum(
        planted("resnet34", f"L{k}-pruned", dark) - planted("resnet18", f"L{k}-pruned", dark)
        for k in (2, 3, 4)
    )
    expected = {
        "brightness_is_worst": mean["brightness"] - max(mean["contrast"], mean["saturation"]),
        "larger_is_nearer": near["resnet18"] - near["resnet34"],
        "larger_is_better": better / 3,
    }
    for name, value in expected.items():
        assert getattr(claims, name)(evidence, "resnet18").value == pytest.approx(value, abs=2e-4)
    found = claims.uppermost_carries(evidence, "resnet18")
    regained = [
        planted("resnet18", "baseline", s, "1") - planted("resnet18", "baseline", s, "2")
        for s in map(str, PAPER_SWEEP[1:])
        if s.startswith("brightness")
    ]
    assert found.value == pytest.approx(sum(regained) / len(regained), abs=2e-4)
    contrast = planted("resnet18", "baseline", "contrast=0.5", "1") - planted(
        "resnet18", "baseline", "contrast=0.5", "2"
    )
    said = found.note.split("contrast=0.5 ")[1].split(",")[0]
    assert float(said) == pytest.approx(contrast, abs=1e-3)


def test_a_network_that_finds_nothing_cannot_fall(claims: ModuleType, tmp_path: Path) -> None:
    def dead(model: Mapping[str, Any], shift: Shift, clean: str | None) -> float:
        return 0.0 if model["pruning"] == "baseline" else truth(model, shift, clean)

    table = predictions(tmp_path / "p.parquet", dead, noise=0.0)
    found = claims.greatest_fall(claims.Evidence(claims.read_inputs([table]), 0), "resnet18")
    assert found.value == pytest.approx(1 - (1 - 0.75 * 0.9), abs=2e-4)
    assert "pruned, brightness=0.5" in found.note


def test_an_interval_that_is_cut_says_its_longer_half(claims: ModuleType, tmp_path: Path) -> None:
    """Levels at 0.05 of an error of 0.1 / 1.96 each: the difference has the root of 2 of it."""
    levels = dict.fromkeys(LEVELS, 0.05)
    tables = [distances(tmp_path / "s.parquet", levels, error=0.1)]
    evidence = claims.Evidence(claims.read_inputs(tables), 0)
    layers = evidence.distances["resnet18", "baseline", (0, 0)]
    assert layers["enc1"][1] == pytest.approx(0.1 / 1.96)
    found = claims.along_encoder(claims.first_and_last)(evidence, "resnet18")
    assert (found.value, found.high) == pytest.approx((0.0, 0.1 * np.sqrt(2)))


def test_a_model_without_a_fold_stands_beside_those_with_one(
    claims: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a folder does that segmentation-models-pytorch wrote."""
    without = [each | ({"fold": None} if each["fold"] == 1 else {}) for each in models(FOLDS)]
    monkeypatch.setattr(sys.modules[__name__], "models", lambda _: without)
    evidence = claims.Evidence(claims.read_inputs([distances(tmp_path / "s.parquet")]), 0)
    found = claims.larger_has_lower_distance(evidence, "resnet34")
    mean = sum(LEVELS.values()) / len(LEVELS)
    assert found.folds == pytest.approx([mean * 0.2] * FOLDS)


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


def test_substitution_is_laid_out_by_shift_and_part(claims: ModuleType, tmp_path: Path) -> None:
    def iou(_: Mapping[str, Any], shift: Shift, clean: str | None) -> float:
        parts = {None: 0.3, "1": 0.8, "2": 0.5, "3": 0.4, "4": 0.35, "bottleneck": 0.31}
        return parts[clean] - 0.1 * (shift.kind.value == "contrast")

    text = claims.everything([predictions(tmp_path / "p.parquet", iou)], [], 0)
    for kind, less in (("brightness", 0.0), ("contrast", 0.1)):
        found = cells(text, "resnet34", f"{kind}=0.5")
        values = [float(cell.split(" ")[0]) for cell in found[:-1]]
        expected = np.array([0.3, 0.8, 0.5, 0.4, 0.35, 0.31]) - less
        np.testing.assert_allclose(values, expected, atol=0.006)
        assert found[-1] == "not measured"  # all skips together
        low, high = map(float, found[1].split("[")[1].strip("]").split(", "))
        assert low <= values[1] <= high
    plain = claims.everything([predictions(tmp_path / "q.parquet", cleans=False)], [], 0)
    assert "nothing clean" not in plain


def test_the_forecast_is_that_of_the_report(claims: ModuleType, tmp_path: Path) -> None:
    scored, measured = tmp_path / "v.parquet", tmp_path / "s.parquet"
    simulated.predictions(scored, ["A"], SHIFTS, 6, folds=2)
    simulated.distances(measured, SHIFTS, "A", folds=2)
    dark = distances(tmp_path / "dark.parquet")  # of another dataset, for the claims
    text = claims.everything([measured, dark], [scored], 0)
    inputs = claims.read_inputs([scored, measured])
    layers = inputs.shifts[0].lacking("channel").columns(COLUMNS)
    fits = fit_losses(scores(inputs.totals()), layers)
    assert len(fits) == 10
    for fit in fits:
        who = f"{fit.kin.encoder} {fit.pruning}"
        assert cells(text, who, "all, each left out in turn")[1] == f"{fit.error:.2f}"
        kinds = {held.kind: held for held in fit.crossed.held}
        assert cells(text, who, "contrast")[2] == f"{kinds['contrast'].error_of_mean:.2f}"
    assert "left out" not in claims.everything([measured, dark], [], 0)


@pytest.mark.slow
def test_the_experiment_ends_in_its_claims(tmp_path: Path) -> None:
    """The whole script at the least scale; a second call finds all of it there."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    scale = {"IMAGES": "15", "SIZE": "64", "EPOCHS": "1", "ENCODERS": "resnet18", "FOLDS": "0"}
    command = ["bash", str(EXAMPLES / "paper_synthetic.sh"), str(tmp_path / "run")]
    env = os.environ | scale | {"WEIGHTS": "none", "PATH": path}
    for _ in range(2):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path / "run" / "claims.md").read_text()
    assert text.startswith("15 images of 64 px, resnet18, folds 0, 1 epochs, weights none.")
    assert "3 test images; folds: resnet18 1." in text
    assert (tmp_path / "run" / "forecast.html").is_file()
    assert "decoder-inputs-1" in (tmp_path / "run" / "report.html").read_text()


def test_folds_that_do_not_agree_decide_nothing(claims: ModuleType) -> None:
    evidence = importlib.import_module("evidence")
    assert evidence.Measure(0.2, 0.1, 0.3, (0.1, 0.3)).verdict(0.0) == "agrees"
    assert evidence.Measure(0.2, 0.1, 0.3, (-0.1, 0.5)).verdict(0.0) == "not decided"
    assert evidence.Measure(-0.2, -0.3, -0.1, (-0.3, -0.1)).verdict(0.0) == "disagrees"
    assert evidence.Measure(0.9, 0.85, 0.95, (0.9, 0.9)).verdict(0.7, 0.8) == "disagrees"
    assert evidence.Measure(0.75, 0.69, 0.78, (0.75, 0.75)).verdict(0.7, 0.8) == "not decided"


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
    with pytest.raises(SystemExit) as stopped:
        claims.main([str(table), "--seed", "-1"])
    assert stopped.value.code == 2
    assert "--seed: -1 is below 0" in capsys.readouterr().err
    assert binary.read_bytes() == b"\xff\xfe"
