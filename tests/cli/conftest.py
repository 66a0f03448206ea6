"""How tests drive the command line: in this process, with captured streams."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skiptool.cli import main


@dataclass(frozen=True, slots=True)
class Ran:
    """What a call of skiptool left behind: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Return the lines of stdout."""
        return self.out.splitlines()

    @property
    def json(self) -> dict[str, Any]:
        """Return the one object on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def rows(self) -> list[dict[str, str]]:
        """Read stdout as TSV with a header."""
        header, *rows = [line.split("\t") for line in self.lines]
        return [dict(zip(header, row, strict=True)) for row in rows]

    def line(self) -> str:
        """Return the one line of an error: nothing on stdout, no traceback."""
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("skiptool"), self.err
        return self.err.rstrip("\n")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Return a function that calls skiptool with words (and stdin) in this process."""

    def call(*words: object, stdin: str | None = None) -> Ran:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Ran(code, *capsys.readouterr())

    return call


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folder with ``images`` and ``masks`` of 20 squares (labels 0 and 1), and a manifest.csv."""
    import numpy as np

    from skiptool.sources.pictures.files import write_mask, write_picture

    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    rows = ["image,mask,domain,subject"]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(20):
        image = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        mask = (rng.random((16, 16)) < number / 40).astype(np.uint8)
        write_picture(folder / "images" / f"{number:02d}.png", image)
        write_mask(folder / "masks" / f"{number:02d}.png", mask, [(0, 0, 0), (255, 255, 255)])
        domain = "AB"[number % 2]
        rows.append(f"images/{number:02d}.png,masks/{number:02d}.png,{domain},s{number // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory, experiment: SimpleNamespace) -> Path:
    """Folder of inputs that commands must refuse; file names say what is wrong with each."""
    import numpy as np

    import skiptool
    from skiptool.names import Split
    from skiptool.records import Sample
    from skiptool.sources.pictures.files import write_mask, write_picture
    from skiptool.stores.dataset_writer import DatasetWriter
    from skiptool.stores.lineage import Invocation

    folder = tmp_path_factory.mktemp("odd")
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("no table, no store\n")
    (folder / "nothing.csv").write_text("")
    (folder / "header.csv").write_text("image,mask,domain,subject\n")
    (folder / "columns.csv").write_text("image,mask,domian,subject\na.png,b.png,A,s\n")
    (folder / "gone.csv").write_text("image,mask,domain,subject\ngone.png,gone.png,A,s\n")
    (folder / "domain.csv").write_text("image,mask,domain,subject\ngone.png,gone.png,A/B,s\n")
    rng = np.random.default_rng(0)
    for name, side, label in (("small", 8, 1), ("large", 12, 1), ("beyond", 8, 3)):
        (folder / name).mkdir()
        image = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
        for stem in ("a", "b"):
            write_picture(folder / name / f"{name}-{stem}.png", image)
            mask = np.full((side, side), label, dtype=np.uint8)
            write_mask(folder / name / f"{name}-{stem}-mask.png", mask, [(0, 0, 0)])
    rows = [
        f"{n}/{n}-{s}.png,{n}/{n}-{s}-mask.png,A,{n}{s}" for n in ("small", "large") for s in "ab"
    ]
    (folder / "sizes.csv").write_text("\n".join(["image,mask,domain,subject", *rows]) + "\n")
    rows = [f"beyond/beyond-{s}.png,beyond/beyond-{s}-mask.png,A,{s}" for s in "ab"]
    (folder / "beyond.csv").write_text("\n".join(["image,mask,domain,subject", *rows]) + "\n")
    rows = [
        f"small/small-{s}.png,small/small-{s}-mask.png,A,{s},{split}"
        for s, split in (("a", ""), ("b", "test"))
    ]
    (folder / "split.csv").write_text("\n".join(["image,mask,domain,subject,split", *rows]) + "\n")
    for name, channels, classes in (("grey.zarr", 1, 2), ("classes.zarr", 3, 3)):
        names = ["background", "left", "right"][:classes]
        writer = DatasetWriter(folder / name, names, Invocation("extract"))
        for number in range(4):
            plain = np.zeros((32, 32, channels), dtype=np.uint8 if channels == 3 else np.float32)
            mask = np.full((32, 32), number % 2, dtype=np.uint8)
            split = Split.TEST if number == 3 else Split.TRAIN
            fold = -1 if number == 3 else number % 2
            writer.append(Sample(f"{number}", plain, mask, f"{number}", "A", split, fold))
        writer.finish()
    layers = ("enc1", "head")
    skiptool.extract_features(
        [experiment.baseline], experiment.data, folder / "two.zarr", layers=layers
    )
    return folder
