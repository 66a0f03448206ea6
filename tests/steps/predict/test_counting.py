from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from predict_cases import make_dataset, make_run
from skiptool.errors import ArgumentError
from skiptool.metrics import count
from skiptool.model.inference import predict_labels
from skiptool.names import Precision
from skiptool.records import ORIGINAL, SILENT, Shift
from skiptool.shifts import apply_all
from skiptool.steps.predict import counting
from skiptool.steps.predict.counting import count_part
from skiptool.steps.predict.run import Part, Sink
from skiptool.stores.dataset import StoredSamples
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
        assert set(counts) == {(number, shift) for number in range(4) for shift in SHIFTS}
        images, truth = run.store.samples(part.domain.name, range(18)).read_many(range(18))
        for (number, shift), found in counts.items():
            labels = np.concatenate(held.found[number, shift])
            np.testing.assert_array_equal(found, count(truth, labels, 2))
            if number < len(run.models):
                shifted, network = apply_all(images, shift), run.models[number].network
                alone = predict_labels(network, shifted, "cpu", Precision.FLOAT32)
                assert (alone == labels).mean() > 0.999  # other batches, other rounding
        assert set(held.rows) == {(0, 16), (16, 18)}


@pytest.mark.long
def test_labels_change_no_count_and_come_where_they_are_wanted(runs: Path, two_sizes: Path) -> None:
    run = make_run(runs, two_sizes, SHIFTS)
    part, held = run.parts[0], Held(SHIFTS[2])
    plain = count_part(run, part, [], SILENT)
    with_labels = count_part(run, part, [held, Held()], SILENT)
    for key, found in plain.items():
        np.testing.assert_array_equal(found, with_labels[key])
    assert set(held.found) == {(number, SHIFTS[2]) for number in range(3)}


@pytest.mark.long
@pytest.mark.parametrize(("wanted", "ensemble"), [((), False), (SHIFTS[:1], True)])
def test_every_image_is_read_once_and_shifted_once_for_all_models(
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
        return apply_all(images, shift)

    run = make_run(runs, two_sizes, SHIFTS, ensemble)
    monkeypatch.setattr(StoredSamples, "read_many", counted)
    monkeypatch.setattr(counting, "apply_all", counted_shift)
    count_part(run, run.parts[0], [Held(*wanted)], SILENT)
    assert rows == list(range(18))
    assert shifted == dict.fromkeys(SHIFTS, 18)


@pytest.mark.slow
def test_counts_do_not_depend_on_what_runs_beside(runs: Path, experiment: SimpleNamespace) -> None:
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
    assert set(some) == {(2, ORIGINAL), (0, ORIGINAL)}
    for key, found in some.items():
        np.testing.assert_array_equal(found, all_counts[key])


@pytest.mark.long
def test_labels_that_are_no_class_are_refused(runs: Path, tmp_path: Path) -> None:
    make_dataset(tmp_path / "odd.zarr", [("A", 32, 32)], labels=(0, 1))
    run = make_run(runs, tmp_path / "odd.zarr")
    masks = SimpleNamespace(read=StoredSamples.read_many)

    def spoiled(self: StoredSamples, positions: range) -> Any:  # noqa: ANN401
        images, truth = masks.read(self, positions)
        return images, np.where(truth == 1, 7, truth).astype(np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredSamples, "read_many", spoiled)
        with refused(ArgumentError, "odd.zarr: domain A: masks hold label 7"):
            count_part(run, run.parts[0], [], SILENT)
