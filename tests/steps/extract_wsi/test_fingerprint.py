"""Ids of what an extraction is made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skiptool.errors import FormatError
from skiptool.names import Kind, PatchMode
from skiptool.records import Architecture
from skiptool.sources.slides.manifest import SlideRow
from skiptool.steps.extract_wsi.fingerprint import made_from
from skiptool.steps.extract_wsi.settings import PatchSettings
from skiptool.stores.lineage import lineage
from skiptool.stores.models import model_identity, write_model
from small_stores import MAKING, refused


def rows(folder: Path, content: bytes = b"slide", **more: object) -> list[SlideRow]:
    folder.mkdir(exist_ok=True)
    (folder / "a.svs").write_bytes(content)
    (folder / "a.json").write_bytes(b"[]")
    return [SlideRow(folder / "a.svs", "A", "s", annotations=folder / "a.json", **more)]


def test_where_files_lie_does_not_matter(tmp_path: Path) -> None:
    first = made_from(rows(tmp_path / "here"), PatchSettings())
    assert set(first) == {"files"}
    assert made_from(rows(tmp_path / "there"), PatchSettings()) == first


def test_what_they_hold_and_what_the_manifest_says_does(tmp_path: Path) -> None:
    ids = [
        made_from(rows(tmp_path / str(number), **new), PatchSettings())["files"]
        for number, new in enumerate(
            [{}, {"content": b"Slide"}, {"mpp": (0.25, 0.25)}, {"level": 1}, {"label_map": "a=b"}]
        )
    ]
    assert len(set(ids)) == 5
    (row,) = rows(tmp_path / "renamed")
    row.path.rename(tmp_path / "renamed" / "b.svs")
    other = SlideRow(tmp_path / "renamed" / "b.svs", "A", "s", annotations=row.annotations)
    assert made_from([other], PatchSettings())["files"] not in ids


@pytest.mark.parametrize("missing", ["a.svs", "a.json"])
def test_a_missing_file_is_something_too(tmp_path: Path, missing: str) -> None:
    listed = rows(tmp_path)
    whole = made_from(listed, PatchSettings())
    (tmp_path / missing).unlink()
    assert made_from(listed, PatchSettings()) != whole


def test_a_model_is_an_input(tmp_path: Path) -> None:
    architecture, tensors = Architecture("resnet18", (), ("background", "cell")), {"a": np.ones(3)}
    header = lineage(Kind.MODEL, MAKING, model_identity(architecture, tensors))
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model", architecture, tensors, header, {"fold": 0})

    def made(folder: Path) -> dict[str, str]:
        settings = PatchSettings(mode=PatchMode.CENTRED, mask=f"model:{folder}")
        return made_from(rows(tmp_path), settings)

    assert made(tmp_path / "model")["model"] == header.id
    with refused(FormatError, "gone"):
        made(tmp_path / "gone")
