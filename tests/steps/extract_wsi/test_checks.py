"""What is wrong with a command is said before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from skiptool.errors import ArgumentError, ExistsError, LeftoverError, SourceError
from skiptool.sources.slides.manifest import SlideRow
from skiptool.steps.extract_wsi.checks import check_places, check_words
from skiptool.steps.extract_wsi.notes import notes_of
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.stores.staging import partial_of
from small_stores import refused

ROWS = [
    SlideRow(Path(f"{domain}.svs"), domain, "s") for domain in ("Aperio", "Hamamatsu", "Aperio")
]


def words(
    register: str | None = None,
    wanted: Sequence[str] = (),
    split: str = "all",
    rows: Sequence[SlideRow] = ROWS,
) -> None:
    check_words(rows, PatchSettings(register=register), wanted, split)


@pytest.mark.parametrize("split", ["all", "train", "test"])
@pytest.mark.parametrize("register", [None, "Aperio"])
@pytest.mark.parametrize("wanted", [(), ("Aperio",), ("Hamamatsu", "Aperio")])
def test_what_the_manifest_has_can_be_asked_for(
    split: str, register: str | None, wanted: Sequence[str]
) -> None:
    words(register, wanted, split)


def test_splits_that_do_not_exist_are_refused() -> None:
    with refused(ArgumentError, "--split val: expected train, test or all"):
        words(split="val")


def test_domains_that_the_manifest_does_not_have_are_refused() -> None:
    with refused(ArgumentError, "--domain aperio: the manifest's domains are Aperio, Hamamatsu"):
        words(wanted=["Hamamatsu", "aperio"])
    with refused(ArgumentError, "--register Aperi: ", "Aperio, Hamamatsu; did you mean Aperio?"):
        words("Aperi")


def test_scans_are_registered_to_a_domain_that_is_taken() -> None:
    with refused(ArgumentError, "--register Aperio: the manifest's domains are Hamamatsu"):
        words("Aperio", ["Hamamatsu"])


def test_where_every_row_is_bad_the_rows_are_told_not_the_words() -> None:
    words("Aperio", ["Aperio"], rows=[])


def places(folder: Path, overwrite: bool = False, resume: bool = False) -> None:
    check_places(
        folder / "d.zarr",
        folder / "qc",
        folder / "pairs",
        overwrite=overwrite,
        resume=resume,
    )


HOW = {"new": {}, "overwrite": {"overwrite": True}, "resume": {"resume": True}}


@pytest.mark.parametrize("how", HOW)
def test_free_places_are_fine_and_stay_as_they_are(tmp_path: Path, how: str) -> None:
    places(tmp_path, **HOW[how])
    assert list(tmp_path.iterdir()) == []
    for name in ("qc", "pairs"):
        (tmp_path / name).mkdir()
    (tmp_path / "qc" / "old.png").touch()  # pictures are added to what lies there
    places(tmp_path, **HOW[how])
    check_places(tmp_path / "d.zarr", tmp_path / "qc", None, overwrite=False, resume=False)


def test_missing_parents_are_refused(tmp_path: Path) -> None:
    good, bad = tmp_path / "x", tmp_path / "no" / "x"
    for given in ((bad, good, good), (good, bad, good), (good, good, bad)):
        with refused(SourceError, "no does not exist; create it first"):
            check_places(*given, overwrite=True, resume=False)


@pytest.mark.parametrize("left", [notes_of, partial_of])
def test_what_an_interrupted_run_left_is_gone_on_with_or_replaced_when_asked(
    tmp_path: Path, left: Callable[[Path], Path]
) -> None:
    leftover = left(tmp_path / "d.zarr")
    leftover.mkdir()
    kind = LeftoverError if left is partial_of else ExistsError
    with refused(kind, leftover.name, "interrupted run", "--overwrite"):
        places(tmp_path)
    places(tmp_path, resume=True)
    places(tmp_path, overwrite=True)


@pytest.mark.parametrize("name", ["masks.png", "manifest.csv"])
@pytest.mark.parametrize("how", HOW)
def test_exported_pairs_are_never_replaced(tmp_path: Path, how: str, name: str) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / name).touch()
    with refused(ExistsError, "pairs: is there already", "corrected by hand", "another --export"):
        places(tmp_path, **HOW[how])


def test_a_file_in_the_place_of_pairs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs").touch()
    for how in HOW.values():
        with refused(ExistsError, "pairs: is there already"):
            places(tmp_path, **how)
