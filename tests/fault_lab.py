"""One tiny experiment of all commands, and the words that make each of its artifacts again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from forking import Ended, Running, Server
from skiptool.sources.pictures.files import write_mask, write_picture
from skiptool.steps.info import describe
from slide_cases import write_geojson, write_manifest, write_slide
from volume_cases import cine, row, write_table

CPU = ("--device", "cpu", "--precision", "32", "--threads", "1")
SMALL = ("--encoder", "tu-mobilenetv3_small_050", "--encoder-weights", "none", *CPU)
CLASSES = ("--classes", "tumor=SCC;non-tumor=Dermis,Bone")


@dataclass(frozen=True, slots=True)
class Command:
    """Words of a command that is run in a folder beside the inputs, and what it makes there.

    Attributes
    ----------
    words : tuple of str
        The outputs are in the folder itself, the inputs in the one above.
    outputs : tuple of str
        Final names, files or folders, of what ``info`` knows.
    resumes : bool
        It has ``--resume``.
    workers : bool
        It has ``--workers``.
    """

    words: tuple[str, ...]
    outputs: tuple[str, ...]
    resumes: bool = True
    workers: bool = False


def _feature_names() -> tuple[str, ...]:
    model = "tu-mobilenetv3_small_050-L0-fold0"
    return tuple(f"feats/{model}_synthetic_{s}.zarr" for s in ("original", "brightness-0.5"))


COMMANDS: Mapping[str, Command] = {
    "synth": Command(
        (
            *("synth", "--n", "40", "--size", "32", "--canvas", "200", "--cells", "1:3"),
            *("--folds", "2", "-o", "s.zarr", "--export", "png", "pairs"),
            *("--save-templates", "templates"),
        ),
        ("s.zarr",),
        workers=True,
    ),
    "extract images": Command(
        (
            *("extract", "images", "../pictures/manifest.csv", "-o", "i.zarr"),
            *("--patch-size", "8", "--folds", "2", "--export", "png", "pairs"),
        ),
        ("i.zarr",),
        workers=True,
    ),
    "extract wsi": Command(
        (
            *("extract", "wsi", "../slides/slides.csv", "-o", "w.zarr", "--patch-size", "64"),
            *("--folds", "2", "--stride", "48", *CLASSES, "--export", "pairs"),
        ),
        ("w.zarr",),
        workers=True,
    ),
    "extract mri": Command(
        ("extract", "mri", "../volumes/volumes.csv", "-o", "m.zarr", "--folds", "2"),
        ("m.zarr",),
        workers=True,
    ),
    "train": Command(
        (
            *("train", "../data.zarr", "-o", "runs", "--prune", "0", "--prune", "1"),
            *("--fold", "0", "--epochs", "2", "--batch-size", "4", "--no-keep-last", *SMALL),
        ),
        tuple(f"runs/tu-mobilenetv3_small_050-L{level}/fold0" for level in (0, 1)),
        workers=True,
    ),
    "predict": Command(
        (
            *("predict", "../runs", "--data", "../data.zarr", "-o", "p.parquet", *CPU),
            *("--masks", "k.zarr", "--overlays", "overlays", "--overlay-count", "2"),
            *("--shift", "original", "--shift", "brightness=0.5", "--split", "all"),
        ),
        ("p.parquet", "k.zarr", "overlays"),
    ),
    "features": Command(
        (
            *("features", "../runs/tu-mobilenetv3_small_050-L0/fold0", "--data", "../data.zarr"),
            *("-o", "feats", "--shift", "original", "--shift", "brightness=0.5"),
            *("--split", "all", "--device", "cpu", "--threads", "1"),
        ),
        _feature_names(),
    ),
    "hellinger": Command(
        (
            *("hellinger", f"../{_feature_names()[0]}", f"../{_feature_names()[1]}"),
            *("-o", "shift.parquet", "--permutations", "999"),
        ),
        ("shift.parquet",),
        resumes=False,
        workers=True,
    ),
    "report": Command(
        (
            *("report", "../p.parquet", "../shift.parquet", "-o", "report.html"),
            *("--figures", "figures", "--format", "png"),
        ),
        (),
        resumes=False,
    ),
}
CHEAP = ("synth", "extract mri", "hellinger")


@dataclass(frozen=True, slots=True)
class Whole:
    """An uninterrupted run: what it leaves, and its length in seconds and in steps on the disk."""

    files: Mapping[str, str]
    sizes: Mapping[str, int]
    seconds: float
    steps: int


class Lab:
    """A folder of inputs, a folder for each try, and the server that runs commands."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server, self._number = folder, server, 0
        self._whole: dict[str, Whole] = {}
        pictures(folder / "pictures")
        slides(folder / "slides")
        volumes(folder / "volumes")
        invocation = (
            "--n",
            "40",
            "--size",
            "32",
            "--canvas",
            "200",
            "--cells",
            "1:3",
            "--folds",
            "2",
        )
        self._made("synth", *invocation, "-o", "data.zarr")
        for name in ("train", "predict", "features", "hellinger"):
            self._made(*(word.removeprefix("../") for word in COMMANDS[name].words))

    def _made(self, *words: str) -> None:
        found = self.server.run(words, self.folder)
        assert found.code == 0, (words, found)

    def place(self) -> Path:
        """Return a new empty folder beside the inputs."""
        self._number += 1
        place = self.folder / f"try{self._number}"
        place.mkdir()
        return place

    def start(self, name: str, place: Path, *more: str, **how: object) -> Running:
        """Start a command in a folder, its temporary files in one of its own."""
        temporary = self.folder / "temporary"
        temporary.mkdir(exist_ok=True)
        words = (*COMMANDS[name].words, *more)
        environment = {"TMPDIR": str(temporary)}
        return self.server.start(words, place, environment=environment, **how)  # type: ignore[arg-type]

    def run(self, name: str, place: Path, *more: str, **how: object) -> Ended:
        """Run a command in a folder to its end."""
        return self.start(name, place, *more, **how).end()

    def whole(self, name: str) -> Whole:
        """Return what an uninterrupted run of a command leaves; it is run once."""
        if name not in self._whole:
            place = self.place()
            found = self.run(name, place, "--quiet", at=(0, 0))
            assert (found.code, found.err) == (0, ""), found
            assert whole(name, place) == list(COMMANDS[name].outputs)
            assert hidden(place) == []
            files = [path for path in place.rglob("*") if path.is_file()]
            sizes = {str(path.relative_to(place)): path.stat().st_size for path in files}
            self._whole[name] = Whole(snapshot(place), sizes, found.seconds, found.steps)
            shutil.rmtree(place)
        return self._whole[name]

    def temporaries(self) -> list[Path]:
        """Return what lies in the folder of temporary files."""
        return sorted((self.folder / "temporary").rglob("*"))


def snapshot(place: Path) -> dict[str, str]:
    """Return a digest of every file of a folder, by path; of a history without its seconds."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_symlink() or not path.is_file():
            found[name] = "folder"
        elif path.name == "history.parquet":
            table = pq.read_table(path)
            data = repr((table.drop_columns("seconds").to_pydict(), table.schema.metadata))
            found[name] = hashlib.sha256(data.encode()).hexdigest()
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def whole(name: str, place: Path) -> list[str]:
    """Verify whatever stands under the final names of a command; return which names stand."""
    standing = [each for each in COMMANDS[name].outputs if (place / each).exists()]
    if standing:
        checked = describe([place / each for each in standing], check=True)
        assert not checked.failures, checked.failures
    return standing


def hidden(place: Path) -> list[str]:
    """Return the leftovers of an interrupted run: hidden names, their contents left out."""
    found = [path.relative_to(place) for path in place.rglob(".*")]
    inner = {path for path in found if any(part.startswith(".") for part in path.parts[:-1])}
    return sorted(str(path) for path in found if path not in inner)


def half_written(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Return files under final names that are not those of the whole run."""
    return [
        name
        for name, digest in found.items()
        if not any(part.startswith(".") for part in Path(name).parts)
        and expected.get(name) != digest
    ]


def pictures(folder: Path) -> None:
    """Make a folder of 24 small pictures with masks, and a manifest of them."""
    rng = np.random.default_rng(0)
    rows = ["image,mask,domain,subject"]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(24):
        image = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        mask = (rng.random((16, 16)) < number / 40).astype(np.uint8)
        write_picture(folder / "images" / f"{number:02d}.png", image)
        write_mask(folder / "masks" / f"{number:02d}.png", mask, [(0, 0, 0), (255, 255, 255)])
        subject = f"s{number // 2}"
        rows.append(f"images/{number:02d}.png,masks/{number:02d}.png,{'AB'[number % 2]},{subject}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


def slides(folder: Path) -> None:
    """Make three small slides with annotations, and a manifest of them."""
    folder.mkdir()
    write_geojson(folder / "areas.json")
    rows: list[dict[str, object]] = []
    for number in range(3):
        write_slide(folder / f"s{number}.tiff", number)
        rows.append({"path": f"s{number}.tiff", "domain": "A", "subject": f"p{number}"})
        rows[-1]["annotations"] = "areas.json"
    write_manifest(folder / "slides.csv", rows)


def volumes(folder: Path) -> None:
    """Make six small cines with masks, and a manifest of them."""
    for number in range(6):
        cine(folder, f"p{number}", seed=number)
    write_table(folder / "volumes.csv", [_volume(number) for number in range(6)])


def _volume(number: int) -> dict[str, object]:
    files = (f"p{number}_sa.nii.gz", f"p{number}_sa_gt.nii.gz")
    split = "test" if number > 3 else "train"
    return row(*files, subject=f"p{number}", frames="ED=0;ES=3", split=split)
