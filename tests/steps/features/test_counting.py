from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from heard import Heard
from skiptool.comparison.activations import Settings
from skiptool.comparison.layer import reference_bins
from skiptool.distances.counting import count_activations
from skiptool.errors import ArgumentError, ExistsError, FormatError, MismatchError
from skiptool.names import RangeRule, Split
from skiptool.records import ORIGINAL, Shift
from skiptool.steps.features import counting, features
from skiptool.steps.features.features import extract_features
from skiptool.steps.hellinger import measure_shift
from skiptool.stores.counts import open_counts
from skiptool.stores.features import open_features
from small_models import sibling
from small_stores import refused, sample, write_dataset

Contents = Callable[[Path], dict[str, bytes]]

DARK = Shift.parse("brightness=0.5")
LAYERS = ("input", "enc1", "dec1", "head")


def bins(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Low and span of the bins of each layer."""
    store = open_counts(path)
    known = {layer: store.count_layout(layer).binning for layer in store.layers}
    return {name: (each.low.tolist(), each.span.tolist()) for name, each in known.items()}


@pytest.fixture(scope="module")
def two_domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset of domain ``b`` (12 images of 2 subjects, in turn), then the training domain."""
    path = tmp_path_factory.mktemp("domains") / "d.zarr"
    how: dict[str, Any] = {"split": Split.TEST, "fold": -1}
    of_b = [sample(i, "b", (64, 64, 3), subject=f"s{i % 2}", **how) for i in range(12)]
    own = [sample(i, "synthetic", (64, 64, 3), **how) for i in range(4)]
    write_dataset(path, [*of_b, *own])
    return path


@pytest.fixture(scope="module")
def tallies(experiment: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with counts of all images of the baseline, as they are and dark."""
    folder = tmp_path_factory.mktemp("tallies") / "c"
    how: dict[str, Any] = {"shifts": [ORIGINAL, DARK], "layers": LAYERS, "split": "all"}
    extract_features([experiment.baseline], experiment.data, folder, counts=True, **how)
    return folder


ORIGINAL_NAME = "resnet18-L0-fold0_synthetic_original.zarr"
DARK_NAME = "resnet18-L0-fold0_synthetic_brightness-0.5.zarr"


@pytest.mark.long
def test_distances_equal_those_of_features_exactly(
    experiment: SimpleNamespace, tmp_path: Path, tallies: Path
) -> None:
    how: dict[str, Any] = {"shifts": [ORIGINAL, DARK], "layers": LAYERS, "split": "all"}
    stores = extract_features([experiment.baseline], experiment.data, tmp_path / "f", **how)
    settings = Settings(permutations=39, range_rule=RangeRule.REFERENCE)
    tables = []
    for pair in (stores.outputs, (tallies / ORIGINAL_NAME, tallies / DARK_NAME)):
        out = tmp_path / f"{len(tables)}.parquet"
        measure_shift(pair[0], pair[1:], out, settings=settings)
        names = [name for name in pq.read_schema(out).names if not name.startswith(("ref", "oth"))]
        tables.append(pq.read_table(out, columns=names).to_pylist())
    assert tables[0] == tables[1]
    assert all(row["p_value"] is not None for row in tables[0])


def test_counts_equal_those_of_a_feature_store(experiment: SimpleNamespace, tmp_path: Path) -> None:
    how: dict[str, Any] = {"shifts": [DARK], "layers": ["enc1"], "counts": True, "bins": 7}
    extract_features([experiment.baseline], experiment.data, tmp_path / "c.zarr", **how)
    store = open_counts(tmp_path / "c.zarr")
    known = reference_bins(*open_features(experiment.plain).ranges("enc1"), 7)
    values = open_features(experiment.dark).read("enc1", slice(None))
    np.testing.assert_array_equal(store.read("enc1", slice(None)), count_activations(values, known))
    for found, expected in zip(
        store.ranges("enc1"), open_features(experiment.dark).ranges("enc1"), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert store.facts["reference_domain"] == "synthetic"
    assert store.lineage is not None
    words = "--counts --bins 7 --pool-images 1 --reference-domain synthetic"
    assert words in store.lineage.command
    assert store.id != open_features(experiment.dark).id


@pytest.mark.long
def test_the_reference_is_the_training_domain(
    experiment: SimpleNamespace, tmp_path: Path, two_domains: Path
) -> None:
    heard = Heard()
    how: dict[str, Any] = {"layers": ["enc1"], "counts": True, "progress": heard}
    model = [experiment.baseline]
    found = extract_features(model, two_domains, tmp_path / "both", **how)
    assert [bins(path) for path in found.outputs] == [bins(found.outputs[1])] * 2
    assert not heard.lines
    own = extract_features(model, two_domains, tmp_path / "own", domains=["synthetic"], **how)
    assert bins(own.outputs[0]) == bins(found.outputs[1])
    # Not among those read: the first of these, and that is told; or what is asked for.
    other = extract_features(model, two_domains, tmp_path / "b", domains=["b"], **how)
    assert bins(other.outputs[0]) != bins(found.outputs[0])
    (line,) = heard.lines
    assert "resnet18-L0/fold0: ranges are those of domain b, as synthetic" in line
    assert "--reference-domain" in line
    how["reference_domain"] = "synthetic"
    asked = extract_features(model, two_domains, tmp_path / "c", domains=["b"], **how)
    assert bins(asked.outputs[0]) == bins(found.outputs[0])
    assert len(heard.lines) == 1
    with refused(ArgumentError, "nowhere"):
        extract_features(
            model, two_domains, tmp_path / "n", **how | {"reference_domain": "nowhere"}
        )


@pytest.mark.long
def test_invalid_reference_is_refused(experiment: SimpleNamespace, tmp_path: Path) -> None:
    samples = [sample(0, "a", (64, 64, 3), split=Split.TEST, fold=-1)]
    samples += [sample(1, "b", (64, 64, 3), split=Split.TRAIN, fold=0)]
    samples += [sample(2, "grey", (64, 64, 1), split=Split.TEST, fold=-1)]
    write_dataset(tmp_path / "d.zarr", samples)
    how: dict[str, Any] = {"domains": ["a"], "counts": True, "layers": ["head"]}
    with refused(ArgumentError, "--reference-domain b: holds no samples of --split test"):
        extract_features(
            [experiment.baseline], tmp_path / "d.zarr", tmp_path / "c", reference_domain="b", **how
        )
    with pytest.raises(MismatchError, match="domain grey"):
        extract_features(
            [experiment.baseline],
            tmp_path / "d.zarr",
            tmp_path / "c",
            reference_domain="grey",
            **how,
        )
    assert not (tmp_path / "c").exists()


@pytest.mark.long
def test_each_model_has_its_ranges_from_one_pass(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    both = [experiment.baseline, experiment.pruned]
    how: dict[str, Any] = {"layers": ["dec1"], "counts": True}
    heard = Heard()
    found = extract_features(both, experiment.data, tmp_path / "c", progress=heard, **how)
    assert [task for task in heard.tasks if task.startswith("ranges")] == ["ranges synthetic"]
    features = extract_features(both, experiment.data, tmp_path / "f", layers=["dec1"])
    for counts, plain in zip(found.outputs, features.outputs, strict=True):
        known = reference_bins(*open_features(plain).ranges("dec1"), 100)
        assert bins(counts) == {"dec1": (known.low.tolist(), known.span.tolist())}


@pytest.mark.long
def test_a_fold_is_its_own_reference(experiment: SimpleNamespace, tmp_path: Path) -> None:
    sibling(experiment.baseline, tmp_path / "runs/fold1", 1)
    how: dict[str, Any] = {"split": "fold", "layers": ["head"]}
    models = [tmp_path / "runs"]
    (counts,) = extract_features(
        models, experiment.data, tmp_path / "c", counts=True, **how
    ).outputs
    (plain,) = extract_features(models, experiment.data, tmp_path / "f", **how).outputs
    known = reference_bins(*open_features(plain).ranges("head"), 100)
    assert bins(counts) == {"head": (known.low.tolist(), known.span.tolist())}


@pytest.mark.long
@pytest.mark.parametrize("source", ["features", "counts", "folder", "original"])
def test_ranges_of_a_store_are_used(
    experiment: SimpleNamespace,
    tmp_path: Path,
    tallies: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    """A shift is added later, without another first pass; the stores can be compared."""
    reference = tallies / ORIGINAL_NAME
    given = {
        "counts": tallies / DARK_NAME,
        "folder": tallies,
        "features": experiment.plain,
        "original": experiment.features,
    }[source]
    monkeypatch.setattr(features, "stored_extremes", lambda *_: 1 / 0)
    out = tmp_path / "c.zarr"
    how: dict[str, Any] = {"layers": ["head"], "shifts": [Shift.parse("contrast=2")]}
    extract_features([experiment.baseline], experiment.data, out, counts=True, ranges=given, **how)
    store = open_counts(out)
    if source in ("features", "original"):
        known = reference_bins(*open_features(experiment.plain).ranges("head"), 100)
        assert bins(out) == {"head": (known.low.tolist(), known.span.tolist())}
    else:
        assert bins(out) == {"head": bins(reference)["head"]}
        measure_shift(reference, [out], settings=Settings(permutations=0))
    assert store.facts["reference_domain"] is None
    assert store.lineage is not None
    assert store.lineage.inputs["ranges"] == store.facts["ranges_id"]
    assert f"--ranges {given}" in store.lineage.command


@pytest.mark.long
def test_unsuitable_ranges_are_refused(
    experiment: SimpleNamespace, tmp_path: Path, tallies: Path
) -> None:
    def extract(model: Path, ranges: Path, **how: Any) -> None:  # noqa: ANN401
        extract_features(
            [model], experiment.data, tmp_path / "c", counts=True, ranges=ranges, **how
        )

    head: dict[str, Any] = {"layers": ["head"]}
    with refused(MismatchError, f"--ranges {tallies}", "resnet18-L1/fold0"):
        extract(experiment.pruned, tallies, **head)
    with refused(MismatchError, DARK_NAME, "lacks layers enc2 of resnet18-L0/fold0"):
        extract(experiment.baseline, tallies / DARK_NAME, layers=["enc1", "enc2"])
    with refused(ArgumentError, "--bins 9:", DARK_NAME, "100 bins"):
        extract(experiment.baseline, tallies / DARK_NAME, bins=9, **head)
    with refused(ArgumentError, "--ranges, --reference-domain"):
        extract(experiment.baseline, tallies, reference_domain="synthetic", **head)
    (tmp_path / "empty").mkdir()
    with refused(FormatError, "empty: holds no feature store"):
        extract(experiment.baseline, tmp_path / "empty", **head)
    folder = tmp_path / "other"
    folder.mkdir()
    for number in (7, 9):
        extract_features(
            [experiment.baseline],
            experiment.data,
            folder / f"{number}.zarr",
            counts=True,
            bins=number,
            **head,
        )
    with refused(ArgumentError, "7.zarr and", "9.zarr have other bins; name one store"):
        extract(experiment.baseline, folder, **head)
    stores = tmp_path / "dark"
    stores.mkdir()
    for number in (1, 2):
        (stores / f"{number}.zarr").symlink_to(experiment.dark)
    with refused(ArgumentError, "none of 2 stores of resnet18-L0/fold0 can be the reference"):
        extract(experiment.baseline, stores, **head)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "option", [{"bins": 8}, {"ranges": "x"}, {"reference_domain": "x"}, {"pool_images": 2}]
)
def test_options_of_counts_require_counts(
    experiment: SimpleNamespace, tmp_path: Path, option: dict[str, Any]
) -> None:
    (name,) = option
    with refused(ArgumentError, f"--{name.replace('_', '-')}: requires --counts"):
        extract_features([experiment.baseline], experiment.data, tmp_path / "f", **option)


@pytest.mark.parametrize("option", [{"bins": 0}, {"bins": 5000}, {"pool_images": 0}])
def test_invalid_numbers_are_refused(
    experiment: SimpleNamespace, tmp_path: Path, option: dict[str, Any]
) -> None:
    with refused(ArgumentError, "expected 1"):
        extract_features(
            [experiment.baseline], experiment.data, tmp_path / "f", counts=True, **option
        )


@pytest.mark.long
def test_images_of_one_subject_are_counted_together(
    experiment: SimpleNamespace, tmp_path: Path, two_domains: Path
) -> None:
    """Of domain b, whose subjects take turns: rows of each subject, as dealt by hand."""
    how: dict[str, Any] = {"layers": ["enc1"], "domains": ["b"], "reference_domain": "synthetic"}
    heard = Heard()
    plain, pooled = (
        open_counts(
            extract_features(
                [experiment.baseline],
                two_domains,
                tmp_path / f"{together}.zarr",
                counts=True,
                pool_images=together,
                progress=heard,
                **how,
            ).outputs[0]
        )
        for together in (1, 4)
    )
    assert pooled.columns["id"].tolist() == ["000", "008", "001", "009"]
    assert pooled.columns["subject"].tolist() == ["s0", "s0", "s1", "s1"]
    assert pooled.images.tolist() == [4, 2] * 2
    counts = plain.read("enc1", slice(None))
    expected = [counts[first : first + 8 : 2].sum(axis=0) for first in (0, 8, 1, 9)]
    np.testing.assert_array_equal(pooled.read("enc1", slice(None)), expected)
    assert heard.said == [
        "b: 12 images in 4 rows of up to 4 images (--pool-images 1 makes a row of each)"
    ]


@pytest.mark.long
def test_many_images_are_pooled_by_default(
    experiment: SimpleNamespace,
    tmp_path: Path,
    two_domains: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One number of images for all domains, so that rows of one are like those of the other."""
    monkeypatch.setattr(counting, "MOST_ROWS", 4)
    how: dict[str, Any] = {"layers": ["head"], "counts": True}
    model = [experiment.baseline]
    found = extract_features(model, two_domains, tmp_path / "c", **how)
    stores = [open_counts(path) for path in found.outputs]
    assert [store.facts["pool_images"] for store in stores] == [3, 3]
    assert [store.images.tolist() for store in stores] == [[3] * 4, [2, 2]]
    # What is added later is counted like it, unless asked for otherwise.
    how["ranges"] = tmp_path / "c"
    later = extract_features(
        model, two_domains, tmp_path / "d", domains=["synthetic"], shifts=[DARK], **how
    )
    assert open_counts(later.outputs[0]).facts["pool_images"] == 3
    how["pool_images"] = 1
    single = extract_features(model, two_domains, tmp_path / "e", domains=["synthetic"], **how)
    assert open_counts(single.outputs[0]).images.tolist() == [1] * 4


@pytest.mark.long
def test_dry_run_counts_rows_and_bytes_and_reads_no_image(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    found = extract_features(
        [experiment.baseline],
        experiment.data,
        tmp_path / "c",
        shifts=[ORIGINAL, DARK],
        layers=["input", "enc1"],
        counts=True,
        bins=10,
        pool_images=2,
        dry_run=True,
    )
    size = 2 * 3 * (3 + 64) * 10 * 2  # stores, rows, channels, bins, bytes
    assert found.summary == {
        "stores": 2,
        "images": 10,
        "rows": 6,
        "bytes before compression": size,
    }
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_interrupted_run_can_be_resumed(
    experiment: SimpleNamespace,
    tmp_path: Path,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how: dict[str, Any] = {
        "layers": ["enc1", "head"],
        "split": "all",
        "shifts": [ORIGINAL, DARK],
        "counts": True,
        "pool_images": 3,
    }
    model, out, whole = [experiment.baseline], tmp_path / "c", tmp_path / "whole"
    extract_features(model, experiment.data, whole, **how)
    tap, extremes, calls, blocks = features.pooled_activations, features.stored_extremes, [], []

    def interrupted(*words: Any) -> Any:  # noqa: ANN401
        calls.append(words)
        if len(calls) == 2 + 4:  # two chunks in the first pass, then the last chunk of two stores
            raise KeyboardInterrupt
        return tap(*words)

    def first_pass(*words: Any) -> Any:  # noqa: ANN401
        blocks.append(words)
        return extremes(*words)

    monkeypatch.setattr(features, "pooled_activations", interrupted)
    monkeypatch.setattr(features, "stored_extremes", first_pass)
    with pytest.raises(KeyboardInterrupt):
        extract_features(model, experiment.data, out, **how)
    assert len(blocks) == 2 * 2  # chunks, layers
    for changed, words in (
        ({"bins": 50}, "bins was 100, now 50"),
        ({"pool_images": 2}, "pool_images was 3, now 2"),
        ({"ranges": experiment.plain}, "reference_domain was 'synthetic', now None"),
    ):
        if "ranges" in changed:
            changed |= {"pool_images": 3}
        with pytest.raises(ExistsError, match=words):
            extract_features(model, experiment.data, out, **how | changed, resume=True)
    with pytest.raises(ExistsError, match="begun with other parameters"):
        extract_features(
            model, experiment.data, out, **how | {"counts": False, "pool_images": None}, resume=True
        )
    extract_features(model, experiment.data, out, **how, resume=True)
    assert len(blocks) == 2 * 2  # the ranges stand in what was begun
    for path in whole.iterdir():
        assert contents(out / path.name) == contents(path)
    calls.clear()
    extract_features(model, experiment.data, out, **how, resume=True)
    assert not calls


@pytest.mark.long
def test_added_stores_use_the_ranges_of_finished_ones(
    experiment: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how: dict[str, Any] = {"layers": ["head"], "counts": True}
    model, out = [experiment.baseline], tmp_path / "c"
    extract_features(model, experiment.data, out, **how)
    monkeypatch.setattr(features, "stored_extremes", lambda *_: 1 / 0)
    shifts = [ORIGINAL, DARK]
    found = extract_features(model, experiment.data, out, shifts=shifts, **how, resume=True)
    assert bins(found.outputs[0]) == bins(found.outputs[1])


def test_first_pass_reports_values_that_are_not_finite(
    experiment: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_network: object, images: Any, layers: Any, *_: object) -> Any:  # noqa: ANN401
        found = np.ones((len(images), 2, 4), dtype=np.float32)
        found[3, 1, 2] = np.nan
        return dict.fromkeys(layers, found)

    monkeypatch.setattr(features, "pooled_activations", broken)
    with pytest.raises(FormatError, match=r"layer enc1, image .* not finite"):
        extract_features(
            [experiment.baseline], experiment.data, tmp_path / "c", layers=["enc1"], counts=True
        )
    assert list(tmp_path.iterdir()) == []
