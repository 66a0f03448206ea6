"""Writing of sites to a store, the table of registration, and masks by a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skiptool.errors import FormatError, MismatchError, SourceError
from skiptool.model.inference import predict_labels, prepare_for_inference
from skiptool.model.unet import build, restore_network, state_arrays
from skiptool.names import Kind, Precision
from skiptool.records import Architecture
from skiptool.sources.annotations.classes import classes_from_names
from skiptool.sources.patches.painting import Areas, Patch
from skiptool.steps.extract_wsi import writing
from skiptool.steps.extract_wsi.plan import PaintedSlide, PatchBatch, PatchPlan
from skiptool.steps.extract_wsi.predicted import load_segmenter
from skiptool.steps.extract_wsi.registration import PatchSite, PatchView
from skiptool.steps.extract_wsi.survey import Labelling
from skiptool.steps.extract_wsi.writing import (
    write_patches,
    write_registration,
    write_sites,
)
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import SHARD, DatasetWriter
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.models import model_identity, open_model, write_model
from skiptool.stores.tables import open_table
from slide_cases import area, make_run, surveyed, write_slide
from small_stores import MAKING, refused

MAKING_WRITING = Invocation("extract wsi", (), {"seed": 0}, {}, {"files": "ab"})
CLASSES = ("background", "tumor")


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with slides a and b."""
    folder = tmp_path_factory.mktemp("writing")
    for seed, name in enumerate("ab"):
        write_slide(folder / f"{name}.tiff", seed)
    return folder


def planned(folder: Path, sites: int = 20) -> PatchPlan:
    """Plan the same sites on a (domain A) and b (domain B), then some on a alone."""
    found = [surveyed(name, path=folder / f"{name}.tiff", domain=name.upper()) for name in "ab"]
    painted = Areas.of([(area("tumor", (100, 100, 300, 300)), 1)])
    scenes = {
        place: PaintedSlide(slide.scan, painted, (), True, 0) for place, slide in enumerate(found)
    }
    patches = [Patch(80 + 10 * number, 90, 32) for number in range(sites)]
    both = [
        PatchSite(f"p{n}", (PatchView(0, patch), PatchView(1, patch)))
        for n, patch in enumerate(patches)
    ]
    alone = [PatchSite(f"q{n}", (PatchView(0, patch),)) for n, patch in enumerate(patches[:3])]
    return PatchPlan(found, scenes, [*both, *alone], [], [], [])


def write(plan: PatchPlan, out: Path) -> list[str]:
    run = make_run()
    with run.pool:
        writer = DatasetWriter(out, CLASSES, MAKING_WRITING)
        failures = write_sites(run, writer, plan)
        writer.finish()
    return failures


def test_samples_are_written_in_the_order_of_the_plan(slides: Path, tmp_path: Path) -> None:
    assert write(planned(slides), tmp_path / "d.zarr") == []
    store = open_dataset(tmp_path / "d.zarr")
    both, alone = [f"p{n}" for n in range(20)], [f"q{n}" for n in range(3)]
    assert list(store.domain("A").columns["id"]) == [*both, *alone]
    assert list(store.domain("B").columns["id"]) == both
    image, mask = store.samples("B", [2]).read(0)
    assert image.shape == (32, 32, 3)
    assert (mask[10:] == 1).all()


def test_failed_sites_are_in_no_domain(slides: Path, tmp_path: Path) -> None:
    plan = planned(slides)
    good = plan.painted[1]
    gone = surveyed("b", path=tmp_path / "gone.tiff", domain="B")
    plan.painted[2] = PaintedSlide(gone.scan, good.areas, (), True, 0)
    for number in (3, 17):
        first, second = plan.sites[number].views
        plan.sites[number] = PatchSite(plan.sites[number].id, (first, PatchView(2, second.patch)))
    (line,) = write(plan, tmp_path / "d.zarr")
    assert line.startswith(f"{slides / 'a.tiff'}: 2 patches could not be read and are left out")
    assert "gone.tiff: no such slide" in line
    store = open_dataset(tmp_path / "d.zarr")
    for domain in "AB":
        ids = set(store.domain(domain).columns["id"])
        assert not {"p3", "p17"} & ids
        assert {"p2", "p4", "p16", "p18"} <= ids


def test_unreadable_sites_are_added_to_the_failures(slides: Path, tmp_path: Path) -> None:
    plan, run, out, failures = planned(slides, 3), make_run(), tmp_path / "d.zarr", ["first"]
    gone = surveyed("b", path=tmp_path / "gone.tiff", domain="B")
    plan.painted[1] = replace(plan.painted[1], slide=gone.scan)
    with run.pool:
        write_patches(
            run, out, plan, Labelling(CLASSES, classes_from_names([]), {}), MAKING_WRITING, failures
        )
    assert failures[0] == "first"
    assert len(failures) == 2
    store = open_dataset(out)
    assert store.classes == CLASSES
    assert [(name, list(domain.columns["id"])) for name, domain in store.domains.items()] == [
        ("A", ["q0", "q1", "q2"])
    ]


def test_error_if_no_site_can_be_read(tmp_path: Path) -> None:
    plan, run, failures = planned(tmp_path, 3), make_run(), ["of something else"]
    plan.sites[3:] = [PatchSite("r0", (PatchView(1, Patch(0, 0, 32)),))]
    with refused(
        SourceError,
        f"no patch could be read; the first failure: {tmp_path / 'a.tiff'}: 3 patches",
        "a.tiff: no such slide",
    ):
        write_patches(
            run,
            tmp_path / "d.zarr",
            plan,
            Labelling(CLASSES, classes_from_names([]), {}),
            MAKING_WRITING,
            failures,
        )
    assert len(failures) == 3


@pytest.mark.long
def test_stored_sites_are_not_read_again(
    slides: Path,
    tmp_path: Path,
    contents: Callable[[Path], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, out = tmp_path / "whole.zarr", tmp_path / "d.zarr"
    write(planned(slides), whole)

    run = make_run()
    writer = DatasetWriter(out, CLASSES, MAKING_WRITING)
    write_sites(run, writer, planned(slides, 18))  # killed before it is finished

    seen: list[str] = []
    plain = writing.read_batch

    def read(settings: object, pool: object, work: PatchBatch) -> object:
        seen.extend(site.id for site in work.sites)
        return plain(settings, pool, work)

    monkeypatch.setattr(writing, "read_batch", read)
    write(planned(slides), out)
    # Complete shards were recorded: 16 sites in both domains.
    assert seen == [f"p{n}" for n in range(SHARD, 20)] + ["q0", "q1", "q2"]
    assert contents(out) == contents(whole)


def test_registration_is_written_as_a_table(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        **{"subject": "s", "slide": "s", "reference_domain": "A", "domain": "B", "sample": "s-1"},
        **{"x": 1.0, "y": 2.0, "x_other": 3.0, "y_other": 4.0},
        **{"residual": 0.5, "residual_um": 0.1, "kept": True, "reason": None},
        **{"xx": 1.0, "xy": 0.0, "x0": 5.0, "yx": 0.0, "yy": 1.0, "y0": 6.0},
        **{"mirrored": False, "inliers": 12},
    }
    lost = row | {"residual": None, "residual_um": None, "kept": False, "reason": "outside"}
    path = write_registration(tmp_path / "qc", MAKING_WRITING, [row, lost])
    assert path == tmp_path / "qc" / "registration.parquet"
    found = open_table(path, Kind.REGISTRATION)
    assert found.lineage.kind is Kind.REGISTRATION
    # An existing table is replaced, also by one without rows.
    assert write_registration(tmp_path / "qc", MAKING_WRITING, []) == path
    assert sorted(path.name for path in (tmp_path / "qc").iterdir()) == ["registration.parquet"]


# -------------------------------------------------------------------------------------------------
# Masks by a trained model: all classes except the background.


def untrained(folder: Path, channels: int) -> Path:
    """Write a model with random weights."""
    torch.manual_seed(0)
    architecture = Architecture("resnet18", (), ("background", "cell"), channels=channels)
    tensors = state_arrays(build(architecture))
    header = create_lineage(Kind.MODEL, MAKING, model_identity(architecture, tensors))
    folder.mkdir()
    write_model(folder, architecture, tensors, header, {"fold": 0})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model of colour images."""
    return untrained(tmp_path_factory.mktemp("predicted") / "colour", 3)


@pytest.mark.long
def test_segmenter_returns_the_predicted_foreground(model: Path) -> None:
    segment, stored = load_segmenter(model), open_model(model)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    network = prepare_for_inference(restore_network(stored.architecture, stored.tensors()), "cpu")
    labels = predict_labels(network, image[None], "cpu", Precision.FLOAT32)[0]
    found = segment(image)
    assert found.dtype == bool
    assert (found == (labels > 0)).all()
    assert 0 < found.mean() < 1


@pytest.mark.long
@pytest.mark.parametrize("size", [50, 128])
def test_patches_of_any_size_are_segmented(model: Path, size: int) -> None:
    segment = load_segmenter(model)
    assert segment(np.full((size, size, 3), 200, np.uint8)).shape == (size, size)


def test_model_of_grey_images_is_refused(tmp_path: Path) -> None:
    with refused(MismatchError, "takes images of 1 channel, slides have 3"):
        load_segmenter(untrained(tmp_path / "grey", 1))


def test_missing_model_is_refused(tmp_path: Path) -> None:
    with refused(FormatError, "gone"):
        load_segmenter(tmp_path / "gone")
