"""Tests of ``counting``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from predict_cases import Warned, make_dataset, make_run
from skiptool.errors import ArgumentError, MismatchError
from skiptool.metrics import confusion_counts
from skiptool.model.inference import predict_labels
from skiptool.names import Precision, Split
from skiptool.records import ORIGINAL, SILENT, Sample, Shift
from skiptool.shifts import apply_shift, apply_shifts
from skiptool.steps.predict import counting
from skiptool.steps.predict.counting import Part, Sink, count_part
from skiptool.steps.predict.predict import predict_dataset
from skiptool.stores.dataset import StoredSamples, open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation
from small_stores import refused

SHIFTS = (ORIGINAL, *map(Shift.parse, ("brightness=0.5", "saturation=0", "contrast=1.5")))


class Held(Sink):
    """Keeps the labels under some shifts."""

    def __init__(self, *shifts: Shift) -> None:
        self.shifts = shifts
        self.found: dict[tuple[int, Shift], list[Any]] = {}
        self.rows: list[tuple[int, int]] = []

    def begin(self, part: Part) -> None:
        self.part = part

    def wants(self, shift: Shift) -> bool:
        return shift in self.shifts

    def take(self, number: int, shift: Shift, rows: range, labels: Any, counts: Any) -> None:  # noqa: ANN401
        assert len(rows) == len(labels) == len(counts)
        self.rows.append((rows.start, rows.stop))
        self.found.setdefault((number, shift), []).append(labels)


@pytest.mark.long
def test_counts_are_those_of_each_network_alone(runs: Path, two_sizes: Path) -> None:
    run = make_run(runs, two_sizes, SHIFTS, ensemble=True)
    for part in run.parts:
        held = Held(*SHIFTS)
        counts = count_part(run, part, [held], SILENT)
        assert set(counts) == {(number, shift, None) for number in range(4) for shift in SHIFTS}
        images, truth = run.store.samples(part.domain.name, range(18)).read_many(range(18))
        for (number, shift, _), found in counts.items():
            labels = np.concatenate(held.found[number, shift])
            np.testing.assert_array_equal(found, confusion_counts(truth, labels, 2))
            if number < len(run.models):
                shifted, network = apply_shifts(images, shift), run.models[number].network
                alone = predict_labels(network, shifted, "cpu", Precision.FLOAT32)
                assert (alone == labels).mean() > 0.999  # other batches, other rounding
        assert set(held.rows) == {(0, 16), (16, 18)}


@pytest.mark.long
def test_labels_go_to_sinks_that_want_them(runs: Path, two_sizes: Path) -> None:
    run = make_run(runs, two_sizes, SHIFTS)
    part, held = run.parts[0], Held(SHIFTS[2])
    plain = count_part(run, part, [], SILENT)
    with_labels = count_part(run, part, [held, Held()], SILENT)
    for key, found in plain.items():
        np.testing.assert_array_equal(found, with_labels[key])
    assert set(held.found) == {(number, SHIFTS[2]) for number in range(3)}


@pytest.mark.long
@pytest.mark.parametrize(("wanted", "ensemble"), [((), False), (SHIFTS[:1], True)])
def test_images_are_read_and_shifted_once_for_all_models(
    wanted: tuple[Shift, ...],
    ensemble: bool,
    runs: Path,
    two_sizes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, shifted = StoredSamples.read_many, Counter[Shift]()
    rows: list[int] = []

    def counted(self: StoredSamples, positions: range) -> Any:  # noqa: ANN401
        rows.extend(positions)
        return read(self, positions)

    def counted_shift(images: Any, shift: Shift) -> Any:  # noqa: ANN401
        shifted[shift] += len(images)
        return apply_shifts(images, shift)

    run = make_run(runs, two_sizes, SHIFTS, ensemble)
    monkeypatch.setattr(StoredSamples, "read_many", counted)
    monkeypatch.setattr(counting, "apply_shifts", counted_shift)
    count_part(run, run.parts[0], [Held(*wanted)], SILENT)
    assert rows == list(range(18))
    assert shifted == dict.fromkeys(SHIFTS, 18)


@pytest.mark.slow
def test_counts_do_not_depend_on_other_models(runs: Path, experiment: SimpleNamespace) -> None:
    run = make_run(runs, experiment.data, SHIFTS)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, again = (count_part(run, run.parts[0], [], SILENT) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    for key, found in first.items():
        np.testing.assert_array_equal(found, again[key])


def test_a_part_may_be_of_some_models(runs: Path, experiment: SimpleNamespace) -> None:
    run = make_run(runs, experiment.data)
    whole = run.parts[0]
    all_counts = count_part(run, whole, [], SILENT)
    some = count_part(run, Part(whole.domain, whole.indices, (2, 0)), [], SILENT)
    assert set(some) == {(2, ORIGINAL, None), (0, ORIGINAL, None)}
    for key, found in some.items():
        np.testing.assert_array_equal(found, all_counts[key])


@pytest.mark.long
def test_unknown_labels_are_refused(runs: Path, tmp_path: Path) -> None:
    make_dataset(tmp_path / "odd.zarr", [("A", 32, 32)], labels=(0, 1))
    run = make_run(runs, tmp_path / "odd.zarr")
    masks = SimpleNamespace(read=StoredSamples.read_many)

    def spoiled(self: StoredSamples, positions: range) -> Any:  # noqa: ANN401
        images, truth = masks.read(self, positions)
        return images, np.where(truth == 1, 7, truth).astype(np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredSamples, "read_many", spoiled)
        with refused(ArgumentError, "odd.zarr: domain A: masks contain label 7"):
            count_part(run, run.parts[0], [], SILENT)


DARK = Shift.parse("brightness=0.5")
HOW = {"precision": Precision.FLOAT32, "device": "cpu"}


def pixels(path: Path, **facts: object) -> dict[tuple[object, ...], int]:
    """Pixels by model, sample, truth and prediction of the rows that have some facts."""
    found: dict[tuple[object, ...], int] = {}
    for row in pq.read_table(path).to_pylist():
        if all(row[name] == value for name, value in facts.items()):
            key = tuple(row[name] for name in ("model_id", "sample", "truth", "predicted"))
            assert key not in found
            found[key] = row["pixels"]
    return found


@pytest.fixture(scope="module")
def tables(
    experiment: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """Plain predictions and substituted ones of the baseline and the L1-pruned network."""
    folder = tmp_path_factory.mktemp("substituted")
    models, shifts = [experiment.baseline, experiment.pruned], (ORIGINAL, DARK)
    plain, each, all_ = (folder / f"{name}.parquet" for name in ("plain", "each", "all"))
    predict_dataset(models, experiment.data, plain, shifts=shifts, **HOW)
    done = predict_dataset(
        models, experiment.data, each, shifts=shifts, clean_skips=["each"], **HOW
    )
    words = ["1,2,3,4,bottleneck", "2,3,4,bottleneck"]
    predict_dataset(models, experiment.data, all_, shifts=shifts, clean_skips=words, **HOW)
    return SimpleNamespace(plain=plain, each=each, all=all_, done=done)


@pytest.mark.long
def test_shift_has_no_effect_if_all_parts_are_clean(tables: SimpleNamespace) -> None:
    plain = pixels(tables.plain, shift="original")
    assert plain != pixels(tables.plain, shift="brightness")
    whole = {
        **pixels(tables.all, shift="brightness", pruning="baseline", clean_skips=ALL),
        **pixels(tables.all, shift="brightness", pruning="L1-pruned", clean_skips=PRUNED),
    }
    assert whole == plain


ALL, PRUNED = "1+2+3+4+bottleneck", "2+3+4+bottleneck"


def test_clean_skips_have_no_effect_without_a_shift(tables: SimpleNamespace) -> None:
    plain = pixels(tables.plain, shift="original", pruning="baseline")
    for parts in ("1", "2", "3", "4", "bottleneck", "1+2+3+4"):
        facts = {"shift": "original", "pruning": "baseline", "clean_skips": parts}
        assert pixels(tables.each, **facts) == plain


def test_only_existing_parts_are_substituted(tables: SimpleNamespace) -> None:
    found = defaultdict(set)
    for row in pq.read_table(tables.each).to_pylist():
        found[row["pruning"]].add(row["clean_skips"])
    alone = {"2", "3", "4", "bottleneck"}
    assert found == {
        "baseline": {"1", "1+2+3+4", *alone},
        "L1-pruned": {"2+3+4", *alone},
    }
    (summary,) = tables.done.tables
    assert summary.columns["clean skips"][0] == "1"
    assert summary.columns["resnet18-L1"][0] is None  # it has no skip of level 1


@pytest.mark.long
def test_one_shifted_part_means_all_others_clean(
    tables: SimpleNamespace, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    out = tmp_path / "p.parquet"
    models = [experiment.baseline]
    predict_dataset(models, experiment.data, out, shifts=[DARK], shifted_skips=["1"], **HOW)
    expected = pixels(tables.all, shift="brightness", pruning="baseline", clean_skips=PRUNED)
    assert pixels(out, clean_skips=PRUNED) == expected
    command = open_command(out)
    assert "--shifted-skips 1" in command
    assert "--clean-skips" not in command


def open_command(path: Path) -> str:
    return str(pq.read_schema(path).metadata[b"skiptool"])


def paired(
    path: Path,
    experiment: SimpleNamespace,
    drop: int = 0,
    columns: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    subjects: str = "",
) -> Path:
    """Write two domains of the same samples: the second darkened, in another order."""
    store = open_dataset(experiment.data)
    domain = store.domain(next(iter(store.domains)))
    rows = domain.select("test")
    writer = DatasetWriter(path, store.classes, Invocation("extract"))
    reader = store.samples(domain.name, rows)
    for name, places in (("plain", range(len(rows))), ("dark", range(len(rows))[::-1])):
        for place in list(places)[drop if name == "plain" else 0 :]:
            image, mask = reader.read(place)
            shown = image if name == "plain" else apply_shift(image, DARK)
            key = f"{place:03d}"
            subject = key + (subjects if name == "dark" else "")
            more = columns.get(name, {})
            writer.append(Sample(key, shown, mask, subject, name, Split.TEST, -1, more))
    writer.finish()
    return path


@pytest.mark.long
def test_clean_image_may_be_of_another_domain(experiment: SimpleNamespace, tmp_path: Path) -> None:
    data, out = paired(tmp_path / "d.zarr", experiment), tmp_path / "p.parquet"
    models = [experiment.baseline]
    how = {"clean_skips": [ALL.replace("+", ",")], "clean_domain": "plain", **HOW}
    predict_dataset(models, data, out, domains=["dark"], **how)
    plain = tmp_path / "plain.parquet"
    predict_dataset(models, data, plain, domains=["plain"], **HOW)
    assert pixels(out, domain="dark") == pixels(plain, domain="plain")


@pytest.mark.long
def test_samples_without_partner_are_refused(experiment: SimpleNamespace, tmp_path: Path) -> None:
    data = paired(tmp_path / "d.zarr", experiment, drop=2)
    how = {"domains": ["dark"], "clean_skips": ["1"], "clean_domain": "plain", **HOW}
    with pytest.raises(MismatchError, match=r"domain plain lacks 2 of \d+ samples of dark \(00"):
        predict_dataset([experiment.baseline], data, tmp_path / "p.parquet", **how)
    assert not (tmp_path / "p.parquet").exists()


CLEAN = {"domains": ["dark"], "clean_skips": ["1"], "clean_domain": "plain", **HOW}


@pytest.mark.long
def test_samples_of_different_subjects_are_refused(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    data, out = paired(tmp_path / "d.zarr", experiment, subjects="-other"), tmp_path / "p.parquet"
    with refused(MismatchError, data, "5 of 5 samples of domain dark", "another subject in plain"):
        predict_dataset([experiment.baseline], data, out, **CLEAN, dry_run=True)
    assert not out.exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("plain", "dark", "fault"),
    [
        ({"mpp": 1.0, "mpp_y": 1.0}, {"mpp": 1.4993, "mpp_y": 1.4993}, "mpp of sample 004"),
        ({"mpp": 1.0, "mpp_y": 1.0}, {"mpp": 1.0, "mpp_y": 1.02}, "mpp_y of sample 004"),
        ({"mpp": 0.25}, {"mpp": 0.2472}, "mpp of sample 004 is 0.2472 in domain dark"),
        ({"spacing": 1.25}, {"spacing": 1.5}, "spacing of sample 004"),
        ({"mpp": 0.25, "mpp_y": 0.25}, {"mpp": 0.252, "mpp_y": 0.2485}, None),
        ({"mpp": 0.25}, {"mpp": 0.25}, None),
    ],
)
def test_different_scales_are_refused(
    plain: dict[str, float],
    dark: dict[str, float],
    fault: str | None,
    experiment: SimpleNamespace,
    tmp_path: Path,
) -> None:
    out, shown = tmp_path / "p.parquet", Warned()
    data = paired(tmp_path / "d.zarr", experiment, columns={"plain": plain, "dark": dark})
    if fault is None:
        predict_dataset([experiment.baseline], data, out, **CLEAN, progress=shown)
        assert (out.exists(), shown.lines) == (True, [])
        return
    with refused(MismatchError, data, fault, "bring both to one pixel size"):
        predict_dataset([experiment.baseline], data, out, **CLEAN)
    assert not out.exists()


@pytest.mark.long
def test_scale_known_for_one_domain_is_a_warning(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    shown = Warned()
    data = paired(tmp_path / "d.zarr", experiment, columns={"plain": {"mpp": 0.25}})
    out = tmp_path / "p.parquet"
    predict_dataset([experiment.baseline], data, out, **CLEAN, progress=shown)
    (line,) = shown.lines
    assert "pixel size is known for only one of the domains dark and plain" in line


@pytest.mark.long
def test_networks_without_the_part_are_left_out_with_a_warning(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    shown, out = Warned(), tmp_path / "p.parquet"
    models = [experiment.baseline, experiment.pruned]
    how = {"shifts": [DARK], "clean_skips": ["1"], **HOW}
    predict_dataset(models, experiment.data, out, progress=shown, **how)
    assert any("resnet18-L1: has none of the skip connections" in line for line in shown.lines)
    assert {row["pruning"] for row in pq.read_table(out).to_pylist()} == {"baseline"}
    with pytest.raises(ArgumentError, match="resnet18-L1: has none of the skip connections"):
        predict_dataset(models[1:], experiment.data, tmp_path / "q.parquet", **how)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"clean_skips": ["1"], "ensemble": True}, "--ensemble with --clean-skips"),
        ({"clean_skips": ["1"], "masks": Path("m.zarr")}, "--masks with --clean-skips"),
        ({"shifted_skips": ["1"], "overlays": Path("o")}, "--overlays with --clean-skips"),
        ({"clean_domain": "a"}, "--clean-domain: requires --clean-skips"),
    ],
)
def test_contradictory_substitution_options_are_refused(
    more: dict[str, object], words: str, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=words):
        predict_dataset([experiment.baseline], experiment.data, tmp_path / "p.parquet", **more)


def test_counts_are_those_of_every_pixel(tables: SimpleNamespace) -> None:
    """Each sample has as many pixels whatever is substituted."""
    sums: dict[object, set[int]] = defaultdict(set)
    table = pq.read_table(tables.each)
    grouped = table.group_by(["sample", "model_id", "shift", "clean_skips"]).aggregate(
        [("pixels", "sum")]
    )
    for row in grouped.to_pylist():
        sums[row["sample"]].add(row["pixels_sum"])
    assert all(len(found) == 1 for found in sums.values())
    assert np.all([found.pop() > 0 for found in sums.values()])


def test_ensembles_are_numbered_after_the_models(runs: Path, experiment: SimpleNamespace) -> None:
    run = make_run(runs, experiment.data, ensemble=True)
    names = [run.predictor(number).name for number in range(4)]
    expected = ["resnet18-L0/fold0", "resnet18-L0/fold1", "resnet18-L1/fold0"]
    assert names == [*expected, "resnet18-L0/ensemble"]
    (part,) = run.parts
    assert run.predictors(part) == [0, 1, 2, 3]
    assert run.predictors(Part(part.domain, part.indices, (1,))) == [1, 3]
