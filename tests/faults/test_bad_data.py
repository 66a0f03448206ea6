"""Bad data: one table of files, of what is wrong with each, and of the line that says so.

``tests/cli/test_bad_input.py`` has the options and the paths; here it is what stands in files.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import Image

from driven import Driven
from skiptool.names import Split
from slide_cases import POINTS, SIZE, write_geojson, write_manifest, write_slide, write_sliderunner
from small_stores import sample, set_attributes, set_json, unseal, write_dataset
from volume_cases import affine, cine, heart, row, save, write_table

Make = Callable[[Path], object]

PICTURES = ("extract", "images", "images.csv", "--classes", "background,cell", "--folds", "2")
TRAINING = (*PICTURES, "--test-fraction", "0", "-o", "new.zarr")
SLIDES = ("extract", "wsi", "slides.csv", "--mode", "grid", "-o", "new.zarr")
CENTRED = (
    "extract",
    "wsi",
    "slides.csv",
    "--mode",
    "centred",
    "--mask",
    "disc:2",
    "-o",
    "new.zarr",
)
VOLUMES = ("extract", "mri", "volumes.csv", "--test-fraction", "0", "-o", "new.zarr")
PREDICT = ("predict", "runs/m/fold0", "--data", "data.zarr", "-o", "new.parquet")
FEATURES = ("features", "runs/m/fold0", "--data", "data.zarr", "-o", "new.zarr", "--layers", "enc2")
HELLINGER = ("hellinger", "plain.zarr", "dark.zarr", "-o", "new.parquet")
ENCODER = ("--encoder", "tu-mobilenetv3_small_050", "--encoder-weights", "none")
TRAIN = ("train", "train.zarr", *ENCODER, "--fold", "0", "--epochs", "1", "-o", "new")
BOXES = ("synth", "--n", "4", "--source", "a.png", "--annotations", "b.json")


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture(scope="module")
def sound(artifacts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with sound inputs of all commands."""
    folder = tmp_path_factory.mktemp("sound") / "here"
    shutil.copytree(artifacts.folder, folder)
    rng = np.random.default_rng(0)
    rows = ["image,mask,domain,subject"]
    for name in "abcd":
        image = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"{name}.png")
        Image.fromarray((image[..., 0] > 99).astype(np.uint8)).save(folder / f"{name}-mask.png")
        rows.append(f"{name}.png,{name}-mask.png,A,{name}")
    (folder / "images.csv").write_text("\n".join(rows) + "\n")
    write_slide(folder / "slide.tiff")
    write_geojson(folder / "a.geojson", (), POINTS)
    write_manifest(
        folder / "slides.csv",
        [{"path": "slide.tiff", "domain": "A", "subject": "s", "annotations": "a.geojson"}],
    )
    cine(folder, "v")
    write_table(folder / "volumes.csv", [row("v_sa.nii.gz", "v_sa_gt.nii.gz")])
    samples = [
        sample(i, "a", (32, 32, 3), split=Split.TRAIN, fold=i % 2, subject=f"{i}") for i in range(4)
    ]
    write_dataset(folder / "train.zarr", samples)
    return folder


@pytest.fixture
def here(sound: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    name = request.node.name
    heavy = () if "[model" in name else ("model.safetensors", "last.ckpt")

    def copy(source: str, target: str) -> None:
        if os.path.basename(source) in heavy:
            os.link(source, target)  # no test but those of models changes them
        else:
            shutil.copyfile(source, target)

    made = BAD.get(name.partition("[")[2].rstrip("]"), (None, ("",)))[1][0] in ("extract", "synth")
    left_out = shutil.ignore_patterns(*(("*.zarr", "runs", "o", "*.parquet") if made else ()))
    shutil.copytree(sound, tmp_path / "here", copy_function=copy, ignore=left_out)
    yield tmp_path / "here"
    shutil.rmtree(tmp_path / "here")


# what is done to files


def content(name: str, text: bytes | str) -> Make:
    raw = text.encode() if isinstance(text, str) else text
    return lambda here: (here / name).write_bytes(raw)


def cut(name: str, share: float = 0.5) -> Make:
    def act(here: Path) -> None:
        whole = (here / name).read_bytes()
        (here / name).write_bytes(whole[: int(len(whole) * share)])

    return act


def folder(name: str) -> Make:
    def act(here: Path) -> None:
        (here / name).unlink(missing_ok=True)
        (here / name).mkdir()

    return act


def dangling(name: str) -> Make:
    def act(here: Path) -> None:
        (here / name).unlink(missing_ok=True)
        (here / name).symlink_to("gone")

    return act


def loop(name: str) -> Make:
    def act(here: Path) -> None:
        (here / name).unlink(missing_ok=True)
        (here / name).symlink_to(name)

    return act


def pipe(name: str) -> Make:
    def act(here: Path) -> None:
        (here / name).unlink(missing_ok=True)
        os.mkfifo(here / name)

    return act


def rewritten(name: str, old: str, new: str) -> Make:
    def act(here: Path) -> None:
        text = (here / name).read_text()
        assert old in text
        (here / name).write_text(text.replace(old, new))

    return act


def encoded(name: str, encoding: str) -> Make:
    return lambda here: (here / name).write_bytes((here / name).read_text().encode(encoding))


def both(*acts: Make) -> Make:
    return lambda here: [act(here) for act in acts]


def picture(name: str, values: Any, **how: Any) -> Make:  # noqa: ANN401 - array and Pillow's
    return lambda here: Image.fromarray(values).save(here / name, **how)


def pages(here: Path) -> None:
    first, second = (Image.open(here / name) for name in ("a.png", "b.png"))
    first.save(here / "a.tif", save_all=True, append_images=[second])
    rewritten("images.csv", "a.png,", "a.tif,")(here)


def volume(name: str, values: Any, matrix: Any = None) -> Make:  # noqa: ANN401
    return lambda here: save(here / name, values, matrix)


def placed(**fields: Any) -> Make:  # noqa: ANN401
    """Change the header of the volume."""

    def act(here: Path) -> None:
        image: Any = nibabel.load(here / "v_sa.nii.gz")
        made: Any = type(image)(np.asarray(image.dataobj), image.affine, image.header)
        raw = bytearray(made.to_bytes())
        header = made.header.copy()
        for name, value in fields.items():
            header[name] = value
        raw[: len(header.binaryblock)] = header.binaryblock
        (here / "v_sa.nii.gz").write_bytes(gzip.compress(bytes(raw)))

    return act


def annotated(name: str, text: bytes | str) -> Make:
    return both(content(name, text), rewritten("slides.csv", "a.geojson", name))


def sliderunner(statement: str) -> Make:
    def act(here: Path) -> None:
        file = write_sliderunner(here / "a.sqlite", {"slide.tiff": SIZE})
        with sqlite3.connect(file) as base:
            base.executescript(statement)
        base.close()
        rewritten("slides.csv", "a.geojson", "a.sqlite")(here)

    return act


def tables(change: Callable[[pa.Table], pa.Table]) -> Make:
    def act(here: Path) -> None:
        table = pq.read_table(here / "shift.parquet")
        metadata = table.schema.metadata
        pq.write_table(change(table).replace_schema_metadata(metadata), here / "shift.parquet")

    return act


def arrays(store: str, change: Callable[[Any], object]) -> Make:
    def act(here: Path) -> None:
        unseal(here / store)
        change(zarr.open_group(here / store, mode="r+", use_consolidated=False))

    return act


def replaced(group: Any, name: str, values: Any) -> None:  # noqa: ANN401 - Zarr's and NumPy's
    del group[name]
    dtype = str if values.dtype == object else values.dtype
    group.create_array(name, shape=values.shape, dtype=dtype)[:] = values


def config(**values: Any) -> Make:  # noqa: ANN401 - JSON
    return lambda here: set_json(unseal(here / "runs/m/fold0/config.json"), **values)


GEO = '{"type": "FeatureCollection", "features": [%s]}'
FEATURE = '{"type": "Feature", "geometry": %s, "properties": {"classification": {"name": "m"}}}'
COCO = '{"images": [%s], "annotations": [%s], "categories": [{"id": 1, "name": "m"}]}'
NAMED = '{"id": 1, "file_name": "slide.tiff", "width": 600, "height": 480}'
XML = "<ASAP_Annotations><Annotations>%s</Annotations></ASAP_Annotations>"
ASAP = '<Annotation Name="n" Type="%s" PartOfGroup="m"><Coordinates>%s</Coordinates></Annotation>'
SPOT = '<Coordinate Order="0" X="%s" Y="9"/>'
HEAD = "image,mask,domain,subject\n"
ROW = "a.png,a-mask.png,A,a\n"
VAL = np.full(20, "val", dtype=object)
GREY = np.zeros((32, 32), np.uint8)

Case = tuple[Make, Sequence[str], int, Sequence[str]]
"""What is done, the command, its exit code, and words of its line."""

BAD: dict[str, Case] = {
    # manifests
    "manifest empty": (content("images.csv", ""), TRAINING, 1, ("images.csv: has no rows",)),
    "manifest of blanks": (content("images.csv", " \n\t\n"), TRAINING, 1, ("has no rows",)),
    "manifest bare": (content("images.csv", HEAD), TRAINING, 1, ("images.csv: has no rows",)),
    "manifest NUL": (content("images.csv", HEAD + "a\0b,c,d,e\n"), TRAINING, 1, ("NUL",)),
    "manifest UTF-16": (encoded("images.csv", "utf-16-le"), TRAINING, 1, ("NUL",)),
    "manifest Latin-1": (
        content("images.csv", (HEAD + "Größe.png,b,c,d\n").encode("latin-1")),
        TRAINING, 1, ("images.csv, line 2: not valid UTF-8", "'CSV UTF-8'"),
    ),
    "manifest column twice": (
        content("images.csv", "image,mask,domain,subject,domain\n"), TRAINING, 1, ("occurs twice",)
    ),
    "manifest column missing": (
        rewritten("images.csv", "domain", "scanner"), TRAINING, 1,
        ("images.csv: has no column domain", "scanner"),
    ),
    "manifest row long": (content("images.csv", HEAD + "a,b,c,d,e\n"), TRAINING, 1, ("line 2",)),
    "manifest row short": (
        content("images.csv", HEAD + "a.png,b.png\n"), TRAINING, 1, ("line 2", "domain")
    ),
    "manifest quote open": (content("images.csv", HEAD + '"a.png,b\n'), TRAINING, 1, ("line 2",)),
    "manifest a folder": (folder("images.csv"), TRAINING, 1, ("images.csv",)),
    "manifest a pipe": (pipe("images.csv"), TRAINING, 1, ("a pipe or a device",)),
    "manifest dangling": (dangling("images.csv"), TRAINING, 1, ("no such manifest",)),
    "manifest a loop": (loop("images.csv"), TRAINING, 1, ("images.csv",)),
    "manifest binary": (
        content("images.csv", bytes(range(128, 256))), TRAINING, 1, ("line 1: not valid",)
    ),
    "manifest JSON": (content("images.csv", '{"image": "a.png"}'), TRAINING, 1, ("no column",)),
    "manifest split wrong": (
        content("images.csv", "image,mask,domain,subject,split\na.png,a-mask.png,A,a,val\n"),
        TRAINING, 1, ("'val'", "train or test"),
    ),
    "slides pipe": (pipe("slides.csv"), SLIDES, 1, ("a pipe or a device",)),
    "slides UTF-16": (encoded("slides.csv", "utf-16-le"), SLIDES, 1, ("NUL",)),
    "slides mpp": (
        content("slides.csv", "path,domain,subject,mpp\nslide.tiff,A,s,fine\n"),
        SLIDES, 1, ("slide.tiff: mpp 'fine' is not a number",),
    ),
    "slides level": (
        content("slides.csv", "path,domain,subject,level\nslide.tiff,A,s,9\n"),
        SLIDES, 1, ("slide.tiff", "level"),
    ),
    "volumes pipe": (pipe("volumes.csv"), VOLUMES, 1, ("a pipe or a device",)),
    "volumes frames": (
        content("volumes.csv", "image,domain,subject,frames\nv_sa.nii.gz,A,p,first\n"),
        VOLUMES, 1, ("frames 'first'", "0;9"),
    ),
    "volumes frame beyond": (
        content(
            "volumes.csv",
            "image,mask,domain,subject,frames\nv_sa.nii.gz,v_sa_gt.nii.gz,A,p,77\n",
        ),
        VOLUMES, 1, ("v_sa", "77"),
    ),
    # pictures
    "picture cut": (cut("a.png"), TRAINING, 3, ("a.png: the picture is truncated or damaged",)),
    "picture empty": (content("a.png", b""), TRAINING, 3, ("a.png: not a readable",)),
    "picture text": (content("a.png", "no picture"), TRAINING, 3, ("a.png: not a readable",)),
    "picture a folder": (folder("a.png"), TRAINING, 3, ("a.png: no such file",)),
    "picture a pipe": (pipe("a.png"), TRAINING, 3, ("a.png: no such file",)),
    "picture dangling": (dangling("a.png"), TRAINING, 3, ("a.png: no such file",)),
    "picture of pages": (pages, TRAINING, 3, ("a.tif: 2 pages",)),
    "picture GIF": (
        lambda here: Image.open(here / "a.png").save(here / "a.png", format="GIF"),
        TRAINING, 3, ("a.png: not a readable",),
    ),
    "mask cut": (cut("a-mask.png"), TRAINING, 3, ("a-mask.png: the picture is truncated",)),
    "mask coloured": (picture("a-mask.png", np.dstack([GREY, GREY + 1, GREY])), TRAINING, 3,
                      ("a-mask.png", "a coloured mask")),
    "mask beyond": (picture("a-mask.png", GREY + 7), TRAINING, 3, ("a-mask.png", "value 7")),
    "mask a JPEG": (picture("a-mask.png", GREY, format="JPEG"), TRAINING, 3, ("as JPEG",)),
    "mask of another size": (
        picture("a-mask.png", GREY[:16]), TRAINING, 3, ("a-mask.png: mask is 16 x 32 pixels",),
    ),
    # slides
    "slide cut": (cut("slide.tiff", 0.4), SLIDES, 1, ("slide.tiff",)),
    "slide cut at its head": (cut("slide.tiff", 0.001), SLIDES, 1, ("slide.tiff",)),
    "slide empty": (content("slide.tiff", b""), SLIDES, 1, ("slide.tiff: is empty",)),
    "slide text": (content("slide.tiff", "text"), SLIDES, 1, ("unsupported or truncated",)),
    "slide a PNG": (
        lambda here: shutil.copy(here / "a.png", here / "slide.tiff"), SLIDES, 1,
        ("slide.tiff: unsupported or truncated",),
    ),
    "slide a folder": (folder("slide.tiff"), SLIDES, 1, ("slide.tiff: a folder",)),
    "slide a pipe": (pipe("slide.tiff"), SLIDES, 1, ("a pipe or a device",)),
    "slide dangling": (dangling("slide.tiff"), SLIDES, 1, ("slide.tiff: no such slide",)),
    # annotations, six formats
    "annotations empty": (annotated("x.json", ""), CENTRED, 1, ("x.json: is empty",)),
    "annotations text": (annotated("x.json", "mitosis"), CENTRED, 1, ("neither XML, JSON",)),
    "annotations pipe": (pipe("a.geojson"), CENTRED, 1, ("a pipe or a device",)),
    "annotations folder": (folder("a.geojson"), CENTRED, 1, ("a.geojson: cannot be read",)),
    "annotations dangling": (dangling("a.geojson"), CENTRED, 1, ("a.geojson: cannot be read",)),
    "JSON cut": (cut("a.geojson"), CENTRED, 1, ("a.geojson: is not valid JSON",)),
    "JSON unknown": (annotated("x.json", '{"a": 1}'), CENTRED, 1, ("JSON of unknown form",)),
    "GeoJSON of words": (
        annotated("x.json", GEO % (FEATURE % '{"type": "Point", "coordinates": ["a", "b"]}')),
        CENTRED, 1, ("x.json",),
    ),
    "GeoJSON of NaN": (
        annotated("x.json", GEO % (FEATURE % '{"type": "Point", "coordinates": [NaN, 1]}')),
        CENTRED, 1, ("x.json",),
    ),
    "GeoJSON features no list": (
        annotated("x.json", '{"type": "FeatureCollection", "features": 3}'), CENTRED, 1,
        ("x.json: has no list 'features'",),
    ),
    "COCO of another slide": (
        annotated("x.json", COCO % (NAMED.replace("slide", "else"), "")), CENTRED, 1,
        ("x.json", "slide.tiff"),
    ),
    "COCO of another size": (
        annotated("x.json", COCO % (NAMED.replace("600", "601"), "")), CENTRED, 1, ("601",)
    ),
    "COCO box of words": (
        annotated(
            "x.json",
            COCO % (NAMED, '{"id": 1, "image_id": 1, "category_id": 1, "bbox": ["a", 1, 2, 3]}'),
        ),
        CENTRED, 1, ("x.json",),
    ),
    "COCO annotations no objects": (
        annotated("x.json", COCO % (NAMED, "7")), CENTRED, 1, ("annotation #0: is not an object",)
    ),
    "EXACT of nonsense": (
        annotated("x.json", '{"image": {"name": "slide.tiff"}, "annotations": [{"vector": 3}]}'),
        CENTRED, 1, ("x.json",),
    ),
    "XML cut": (annotated("x.xml", (XML % "")[:-5]), CENTRED, 1, ("not valid XML",)),
    "XML of another program": (annotated("x.xml", "<a/>"), CENTRED, 1, ("root element a",)),
    "ASAP of words": (
        annotated("x.xml", XML % (ASAP % ("Dot", SPOT % "wide"))), CENTRED, 1, ("x.xml",)
    ),
    "ASAP of infinity": (
        annotated("x.xml", XML % (ASAP % ("Dot", SPOT % "inf"))), CENTRED, 1, ("x.xml",)
    ),
    "ASAP of another type": (
        annotated("x.xml", XML % (ASAP % ("Star", SPOT % "1"))), CENTRED, 1, ("has type Star",)
    ),
    "SQLite of another program": (
        sliderunner("DROP TABLE Classes;"), CENTRED, 1, ("without table Classes",)
    ),
    "SQLite of words": (
        sliderunner("UPDATE Annotations_coordinates SET coordinateX = 'far';"), CENTRED, 1,
        ("a.sqlite: annotation",),
    ),
    "SQLite of another slide": (
        both(
            sliderunner("UPDATE Slides SET filename = 'else.tiff', width = 7;"),
        ),
        CENTRED, 1, ("a.sqlite", "slide.tiff"),
    ),
    "SQLite cut": (both(sliderunner(""), cut("a.sqlite")), CENTRED, 1, ("incomplete SQLite",)),
    "SQLite overwritten": (
        both(
            sliderunner(""),
            lambda here: (here / "a.sqlite").write_bytes(
                (here / "a.sqlite").read_bytes()[:100]
                + bytes(len((here / "a.sqlite").read_bytes()) - 100)
            ),
        ),
        CENTRED, 1, ("a.sqlite: cannot be read as a SlideRunner",),
    ),
    # volumes
    "volume cut": (cut("v_sa.nii.gz"), VOLUMES, 1, ("v_sa.nii.gz", "truncated or damaged")),
    "volume cut at its head": (cut("v_sa.nii.gz", 0.001), VOLUMES, 1, ("not a readable NIfTI",)),
    "volume empty": (content("v_sa.nii.gz", b""), VOLUMES, 1, ("v_sa.nii.gz",)),
    "volume text": (content("v_sa.nii.gz", "text"), VOLUMES, 1, ("not a readable NIfTI",)),
    "volume a folder": (folder("v_sa.nii.gz"), VOLUMES, 1, ("v_sa.nii.gz: no such file",)),
    "volume a pipe": (pipe("v_sa.nii.gz"), VOLUMES, 1, ("v_sa.nii.gz: no such file",)),
    "volume dangling": (dangling("v_sa.nii.gz"), VOLUMES, 1, ("v_sa.nii.gz: no such file",)),
    "volume of five axes": (
        volume("v_sa.nii.gz", np.zeros((8, 8, 2, 2, 3), np.int16)), VOLUMES, 1, ("has shape",)
    ),
    "volume of complex numbers": (
        volume("v_sa.nii.gz", np.zeros((40, 40, 3, 5), np.complex64)), VOLUMES, 1, ("complex64",)
    ),
    "volume affine NaN": (
        placed(srow_x=[np.nan] * 4, srow_y=[np.nan] * 4, sform_code=1), VOLUMES, 1, ("nan",)
    ),
    "volume of no size": (
        placed(pixdim=[1, 0, 0, 0, 1, 1, 1, 1], sform_code=0, qform_code=1), VOLUMES, 1, ("v_sa",)
    ),
    "volume of light years": (
        volume("v_sa.nii.gz", np.zeros((40, 40, 3, 5), np.int16), affine((1e9, 1e9, 1e9))),
        VOLUMES, 1, ("v_sa.nii.gz: voxels of", "expected 0.001 to 100"),
    ),
    "volume of an unknown unit": (placed(xyzt_units=7), VOLUMES, 1, ("a unit of length",)),
    "mask of another shape": (
        volume("v_sa_gt.nii.gz", heart(20, 20, 3)), VOLUMES, 1, ("v_sa_gt.nii.gz",)
    ),
    "mask of halves": (
        volume("v_sa_gt.nii.gz", np.repeat(heart()[..., None] * 0.5, 5, axis=3)), VOLUMES, 1,
        ("v_sa_gt.nii.gz",),
    ),
    "mask of other labels": (
        volume("v_sa_gt.nii.gz", np.repeat(heart()[..., None] + 40, 5, axis=3)), VOLUMES, 1,
        ("v_sa_gt.nii.gz", "40"),
    ),
    "mask elsewhere": (
        volume("v_sa_gt.nii.gz", np.repeat(heart()[..., None], 5, axis=3), affine((3, 3, 8))),
        VOLUMES, 1, ("v_sa_gt.nii.gz",),
    ),
    # stores
    "store a file": (both(lambda here: shutil.rmtree(here / "data.zarr"), content("data.zarr", "")),
                     PREDICT, 1, ("data.zarr",)),
    "store a pipe": (both(lambda here: shutil.rmtree(here / "data.zarr"), pipe("data.zarr")),
                     PREDICT, 1, ("data.zarr",)),
    "store without classes": (
        lambda here: set_attributes(unseal(here / "data.zarr"), classes=[]), PREDICT, 1,
        ("data.zarr: attributes lack 'classes'",),
    ),
    "store without a header": (
        lambda here: set_attributes(unseal(here / "data.zarr"), kind=None), PREDICT, 1,
        ("data.zarr: not made by skiptool",),
    ),
    "store empty": (
        both(*(lambda here, name=name: shutil.rmtree(here / "data.zarr" / name) for name in "ab")),
        PREDICT, 1,
        ("data.zarr: holds no domain",),
    ),
    "store of fewer masks": (
        arrays("data.zarr", lambda root: replaced(root["a"], "masks", np.zeros((3, 32, 32), "u1"))),
        PREDICT, 1, ("domain a", "masks (3, 32, 32)"),
    ),
    "store of four channels": (
        arrays(
            "data.zarr",
            lambda root: replaced(root["a"], "images", np.zeros((20, 32, 32, 4), "u1")),
        ),
        PREDICT, 1, ("domain a", "(20, 32, 32, 4)"),
    ),
    "store of other splits": (
        arrays("data.zarr", lambda root: replaced(root["a/samples"], "split", VAL)),
        PREDICT, 1, ("domain a", "column split"),
    ),
    "store of numbers for ids": (
        arrays("data.zarr", lambda root: replaced(root["a/samples"], "id", np.arange(20))),
        FEATURES, 1, ("domain a", "column id"),
    ),
    "store of masks beyond": (
        arrays("train.zarr", lambda root: root["a/masks"].__setitem__((slice(None), slice(8)), 9)),
        TRAIN, 2, ("masks contain label 9, expected 0 to 2",),
    ),
    "features NaN": (
        arrays("plain.zarr", lambda root: root["layers/enc2"].__setitem__((0, 0, 0), np.nan)),
        HELLINGER, 1, ("plain.zarr: layer enc2", "finite"),
    ),
    "features of integers": (
        arrays(
            "plain.zarr",
            lambda root: replaced(root["layers"], "enc2", np.zeros((4, 8, 1), "u1")),
        ),
        HELLINGER, 1, ("plain.zarr", "'enc2'"),
    ),
    "features without names": (
        lambda here: set_attributes(unseal(here / "plain.zarr"), layers=[]), HELLINGER, 1,
        ("plain.zarr: attributes name no layers",),
    ),
    "features unfinished": (
        content("plain.zarr/journal.jsonl", "{}\n"), HELLINGER, 1, ("plain.zarr: is not finished",)
    ),
    # models
    "model without weights": (
        lambda here: (here / "runs/m/fold0/model.safetensors").unlink(), PREDICT, 1,
        ("it has no model.safetensors",),
    ),
    "model weights empty": (
        content("runs/m/fold0/model.safetensors", b""), PREDICT, 1, ("model.safetensors",)
    ),
    "model weights a folder": (
        folder("runs/m/fold0/model.safetensors"), PREDICT, 1, ("model.safetensors",)
    ),
    "model configuration a list": (
        content("runs/m/fold0/config.json", "[]"), PREDICT, 1, ("holds no JSON object",)
    ),
    "model of another encoder": (config(encoder_name="resnet18"), PREDICT, 1, ("fold0",)),
    "model of an unknown encoder": (config(encoder_name="../../x"), PREDICT, 1, ("fold0",)),
    "model of other skips": (config(skips=[9]), PREDICT, 1, ("config.json",)),
    "model of another decoder": (
        config(decoder_channels=[8, 8, 8, 8, 8]), PREDICT, 1, ("decoder_channels",)
    ),
    "model of more classes": (
        config(classes=4, class_names=["a", "b", "c", "d"]), PREDICT, 1, ("classes",)
    ),
    "model of no lineage": (config(lineage=[]), PREDICT, 1, ("not made by skiptool",)),
    # tables
    "table empty": (content("shift.parquet", b""), ("report", "shift.parquet"), 1, ("a Parquet",)),
    "table CSV": (content("shift.parquet", HEAD), ("report", "shift.parquet"), 1, ("a Parquet",)),
    "table a pipe": (pipe("shift.parquet"), ("report", "shift.parquet"), 1, ("shift.parquet",)),
    "table dangling": (dangling("shift.parquet"), ("report", "shift.parquet"), 1, ("no such",)),
    "table without a column": (
        tables(lambda table: table.drop_columns("value")), ("report", "shift.parquet"), 1,
        ("lacks value",),
    ),
    "table of words": (
        tables(
            lambda table: table.set_column(
                table.column_names.index("value"), "value", pa.array(["far"] * len(table))
            )
        ),
        ("report", "shift.parquet"), 1, ("shift.parquet: cannot be read",),
    ),
    "table of another program": (
        lambda here: pq.write_table(pa.table({"a": [1]}), here / "shift.parquet"),
        ("report", "shift.parquet"), 1, ("not made by skiptool",),
    ),
    # templates and boxes
    "boxes empty": (
        content("b.json", ""), BOXES,
        1, ("b.json: is not valid JSON",),
    ),
    "boxes a pipe": (
        pipe("b.json"), BOXES,
        1, ("a pipe or a device",),
    ),
    "boxes of words": (
        content("b.json", '[{"image": {"pathname": "a.png"}, "objects": [{"category": "cell"}]}]'),
        BOXES,
        1, ("an object without category or box",),
    ),
    "template cut": (
        both(
            folder("t"),
            lambda here: [
                shutil.copy(here / "a.png", here / f"t/{name}.png")
                for name in ("background", "cell", "artifact")
            ],
            cut("t/cell.png"),
        ),
        ("synth", "--n", "4", "--templates", "t"), 1, ("cell.png",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_named(name: str, driven: Driven, here: Path, counts: Counter[str]) -> None:
    make, words, code, fragments = BAD[name]
    make(here)
    before = {path.name for path in here.iterdir()}
    ended = driven(*words, cwd=here)
    counts["tried"] += 1
    assert ended.code == code, ended
    assert "Traceback" not in ended.err, ended
    assert not re.search(r": unexpected \w+: ", ended.err), ended
    failed = [line for line in ended.errors if code != 3 or "failed: " in line]
    assert len(failed) == 1, ended
    for fragment in fragments:
        assert fragment in failed[0]
    if code != 3:
        assert ended.out == ""
        assert {path.name for path in here.iterdir()} == before
    counts["named"] += 1


def test_a_byte_order_mark_is_no_fault(driven: Driven, here: Path) -> None:
    encoded("images.csv", "utf-8-sig")(here)
    assert driven(*TRAINING, cwd=here).code == 0


def test_sound_inputs_are_sound(driven: Driven, here: Path) -> None:
    """Show that what is refused above is refused for what was done to it."""
    words: tuple[str, ...]
    for words in (TRAINING, CENTRED, VOLUMES):
        assert driven(*words, cwd=here).code in (0, 3), words
        shutil.rmtree(here / "new.zarr")
    for words in (PREDICT, (*FEATURES, "--domain", "b")):
        assert driven(*words, "--device", "cpu", cwd=here).code == 0, words
    assert driven(*HELLINGER, "--overwrite", cwd=here).code == 0


def test_summary(counts: Counter[str], record_property: Callable[[str, str], None]) -> None:
    assert counts["tried"] == counts["named"] >= 60
    record_property("faults", f"bad data: {counts['tried']} cases, {counts['named']} named")
