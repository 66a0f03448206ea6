"""``skiptool synth``: the synthetic malaria dataset of section III.A."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skiptool.errors import ArgumentError
from skiptool.exports.folders import export_folder
from skiptool.exports.png import write_pairs
from skiptool.names import Split
from skiptool.parallel import available_cores, ordered_map
from skiptool.records import SILENT, Outcome, Progress, Sample, as_path
from skiptool.sources.smear.cutting import cut_templates
from skiptool.sources.smear.resize import resize_image, resize_mask
from skiptool.sources.smear.scenes import PreparedScene, SceneSettings, cell_count, compose, prepare
from skiptool.sources.smear.templates import Box, Templates, load_templates, save_templates
from skiptool.splits import assign_folds, hold_out
from skiptool.stores.artifacts import is_complete
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation
from skiptool.stores.staging import OutputType, atomic_output, check_writable, clear_leftovers
from skiptool.stores.urls import accept_urls

if TYPE_CHECKING:
    from skiptool.records import Int64

CLASSES = ("background", "cell")
DOMAIN = "synthetic"
COLOURS = ((0, 0, 0), (255, 255, 255))


@dataclass(frozen=True, slots=True)
class _Renderer:
    stage: PreparedScene
    size: int
    seed: int
    folds: Int64

    def render(self, index: int) -> Sample:
        scene = compose(self.stage, self.seed, index)
        image = resize_image(scene.image, self.size)
        mask = resize_mask(scene.mask, self.size)
        fold = int(self.folds[index])
        return Sample(
            id=f"{index:05d}",
            image=image,
            mask=mask,
            subject=f"{index:05d}",
            domain=DOMAIN,
            split=Split.TEST if fold < 0 else Split.TRAIN,
            fold=fold,
            columns={"cells": scene.cells, "foreground": float((mask == 1).mean())},
        )


@accept_urls(out=OutputType.STORE)
def synthesise_dataset(
    out: Path | str,
    *,
    n: int = 1000,
    templates: Path | str | None = None,
    source: Path | str | None = None,
    annotations: Path | str | None = None,
    artifact_boxes: Sequence[tuple[int, int, int, int]] = (),
    size: int = 512,
    canvas: int = 1500,
    cells: tuple[int, int] = (1, 100),
    artifacts: int = 3,
    test_fraction: float = 0.2,
    folds: int = 5,
    seed: int = 0,
    workers: int | None = None,
    export: Path | str | None = None,
    save_templates_to: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Compose ``n`` synthetic blood smears with their masks, section III.A, steps 1 to 4.

    Parameters
    ----------
    out, n : Path or str, int
        Dataset store to write (a path or a URL), number of images.
    templates : Path or str, optional
        Folder with background*.png, cell*.png, artifact*.png; by default built-in ones.
    source, annotations : Path or str, optional
        A BBBC041 image and its training.json, from which the templates are cut.
    artifact_boxes : sequence of (top, left, bottom, right)
        Artifacts in ``source``, pixels; detected by default.
    size, canvas : int
        Side of the final and of the composed image, pixels.
    cells, artifacts : (int, int), int
        Fewest and most cells, and the number of artifacts, per image.
    test_fraction, folds : float, int
        Share of hold-out test images, and validation folds of the others; both balanced by the
        number of cells.
    seed, workers : int
        Equal seeds give equal pixels for any number of threads (by default all usable cores).
    export, save_templates_to : Path or str, optional
        Folders for PNG pairs of image and mask, and for the templates used.

    Raises
    ------
    ArgumentError
        If a number is out of range, or sources contradict each other.
    SourceError
        If templates, image or annotations are missing or unusable.
    ExistsError
        If the output exists, or a resumed run has other parameters.
    """
    out, templates, source = Path(out), as_path(templates), as_path(source)
    annotations, export = as_path(annotations), as_path(export)
    save_templates_to = as_path(save_templates_to)
    _check(n, size, templates, source, annotations)
    boxes = [Box(*corners) for corners in artifact_boxes]
    template_set = _load_templates(templates, source, annotations, boxes, progress)
    settings = SceneSettings(canvas=canvas, cells=cells, artifacts=artifacts)
    invocation = Invocation(
        "synth",
        (),
        {
            "n": n,
            "size": size,
            "canvas": canvas,
            "cells": f"{cells[0]}:{cells[1]}",
            "artifacts": artifacts,
            "test_fraction": test_fraction,
            "folds": folds,
            "seed": seed,
        },
        {
            "templates": templates,
            "source": source,
            "annotations": annotations,
            "artifact_box": [",".join(map(str, box)) for box in artifact_boxes],
            "out": out,
        },
        {"templates": template_set.digest[:32]},
    )
    done = is_complete(out, invocation, resume=resume, clear=True)
    check_writable(out, overwrite=overwrite, resume=resume)
    for folder in filter(None, (export, save_templates_to)):
        if not folder.is_dir() or any(folder.iterdir()):
            check_writable(folder, overwrite=overwrite, resume=resume)
    if not done:
        assigned = _assign_folds(settings, n, test_fraction, folds, seed)
        renderer = _Renderer(prepare(template_set, settings), size, seed, assigned)
        with atomic_output(out, overwrite=overwrite, resume=resume) as partial:
            _write(renderer, DatasetWriter(partial, CLASSES, invocation), workers, progress)
    side = _write_side_outputs(out, template_set, export, save_templates_to, progress)
    domain = open_dataset(out).domain(DOMAIN)
    summary = {
        "images": len(domain),
        "train": len(domain.select("train")),
        "test": len(domain.select("test")),
        "cells": int(domain.columns["cells"].sum()),
    }
    return Outcome((out,), side, summary)


def _check(
    n: int, size: int, templates: Path | None, source: Path | None, annotations: Path | None
) -> None:
    if n < 1 or size < 1:
        raise ArgumentError(f"--n {n}, --size {size}: both must be at least 1")
    if (source is None) != (annotations is None):
        raise ArgumentError("--source and --annotations belong together; give both or neither")
    if templates is not None and source is not None:
        raise ArgumentError("--templates and --source exclude each other; give one")


def _load_templates(
    folder: Path | None,
    source: Path | None,
    annotations: Path | None,
    boxes: Sequence[Box],
    progress: Progress,
) -> Templates:
    if boxes and source is None:
        raise ArgumentError("--artifact-box requires --source; give that too")
    if source is None or annotations is None:
        return load_templates(folder)
    templates, warnings = cut_templates(source, annotations, artifacts=boxes)
    for line in warnings:
        progress.warn(line)
    return templates


def _assign_folds(
    settings: SceneSettings, n: int, test_fraction: float, folds: int, seed: int
) -> Int64:
    """Return the fold of each image, -1 for test; both balanced by the number of cells."""
    ids = np.array([f"{index:05d}" for index in range(n)], dtype=object)
    density = np.array([cell_count(settings, seed, index) for index in range(n)], dtype=np.float64)
    fold = np.full(n, -1, dtype=np.int64)
    test = np.zeros(n, dtype=bool)
    if test_fraction != 0:
        test = hold_out(ids, density, test_fraction, seed)
    fold[~test] = assign_folds(ids[~test], density[~test], folds, seed)
    return fold


def _write(
    renderer: _Renderer, writer: DatasetWriter, workers: int | None, progress: Progress
) -> None:
    n = len(renderer.folds)
    done = writer.written(DOMAIN)
    threads = available_cores() if workers is None else workers
    with progress.task("synth", n) as task:
        task.advance(done)
        for sample in ordered_map(renderer.render, range(done, n), threads):
            writer.append(sample)
            task.advance()
    writer.finish()


def _write_side_outputs(
    out: Path, templates: Templates, export: Path | None, saved: Path | None, progress: Progress
) -> tuple[Path, ...]:
    if saved is not None:
        # A resumed run may have saved them already.
        filled = saved.is_dir() and any(saved.iterdir())
        if filled and load_templates(saved).digest == templates.digest:
            clear_leftovers(saved)
        else:
            with atomic_output(saved, overwrite=True) as partial:
                save_templates(templates, partial)
    if export is not None:
        data = open_dataset(out)
        with export_folder(export, data) as pairs:
            if pairs is not None:
                write_pairs(data, pairs, progress, by_id=True, colours=COLOURS)
    return tuple(filter(None, (saved, export)))
