"""Formats are told by content; files that are none of them, or broken, give one line each."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from skiptool.errors import SourceError
from skiptool.sources.annotations import read as reading
from skiptool.sources.annotations.read import KNOWN, check_size, choose_slide, read_annotations
from skiptool.sources.annotations.shapes import ListedSlide

Writer = Callable[..., Path]

BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]}
COCO = {
    "images": [{"id": 1, "file_name": "a.svs"}, {"id": 2, "file_name": "b.svs"}],
    "categories": [{"id": 1, "name": "mitosis"}],
    "annotations": [BOX],
}
POINT = {"type": "Point", "coordinates": [1, 2]}
FEATURE = {"type": "Feature", "geometry": POINT, "properties": {"name": "n\u00e4vus"}}
EXACT = {"id": 1, "vector": {"x1": 1, "y1": 2}, "annotation_type": 3, "image": 4}
ASAP = "<ASAP_Annotations><Annotations/></ASAP_Annotations>"


@pytest.mark.parametrize("name", ["a.sqlite", "a.xml", "a.json", "a.geojson", "a", "a.svs"])
@pytest.mark.parametrize(
    ("content", "format_name"),
    [(COCO, "COCO"), ([FEATURE], "QuPath GeoJSON"), ([EXACT], "EXACT"), (ASAP, "ASAP XML")],
)
def test_format_is_recognised_under_any_suffix(
    written: Writer, name: str, content: object, format_name: str
) -> None:
    assert read_annotations(written(content, name), "a.svs").format == format_name


def test_database_is_recognised_under_any_suffix(sliderunner: Writer) -> None:
    path = sliderunner([(1, 1, 1, 1, [(5, 6)])], name="a.json")
    assert read_annotations(path, "a.svs").format == "SlideRunner v0"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_encodings_are_detected(written: Writer, encoding: str) -> None:
    content = f"\n {json.dumps([FEATURE], ensure_ascii=False)}\n".encode(encoding)
    assert read_annotations(written(content), "a").shapes[0].name == "n\u00e4vus"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected one of"),
        (b"\xef\xbb\xbf\r\n ", "is empty; expected one of"),
        (b"path,domain\n", "is neither XML, JSON nor SQLite; expected one of"),
        (b"\x89PNG\r\n\x1a\n", "is neither XML, JSON nor SQLite"),
        (b"null", "is neither XML, JSON nor SQLite"),
        (b"{}", r"is JSON of unknown form \(containing nothing\); expected one of"),
        (b"[3]", r"is JSON of unknown form \(containing a list\); expected one of"),
        (b'{"a": {"b": 1}, "c": 2}', r"unknown form \(containing 'a', 'c'\); expected one of"),
        (b'[{"image": "a.png", "objects": []}]', "is JSON of unknown form"),
        (json.dumps(COCO).encode()[:-20], "is not valid JSON"),
        (b'{"images": [', "is not valid JSON"),
        (b'{"a\xff": 1}', "is not valid JSON"),
        (b"[" * 200_000, "is not valid JSON"),
        (b"[1" + b"0" * 5000 + b"]", "is not valid JSON"),
        (ASAP.encode()[:-5], "is not valid XML"),
        (b"<", "is not valid XML"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "is not valid XML"),
        (b"<!DOCTYPE html><html></html>", "is XML that declares a document type"),
        (b"<html></html>", "is XML with root element html; expected one of"),
        (b"<Annotations><Annotation/></Annotations>", "is XML with root element Annotations"),
        (
            b"<Annotations><Annotation><Regions/></Annotation></Annotations>",
            "is XML of Aperio ImageScope with root element Annotations",
        ),
        (b"SQLite format 3\x00", "is an incomplete SQLite database"),
        (b"SQLite format 3\x00" + b"\x07" * 5000, "is an incomplete SQLite database"),
    ],
)
def test_unusable_files_give_one_line(written: Writer, content: bytes, message: str) -> None:
    path = written(content)
    with pytest.raises(SourceError, match=rf"^{path}: .*{message}") as caught:
        read_annotations(path, "a.svs")
    assert "\n" not in str(caught.value)
    if "expected one of" in message:
        assert KNOWN in str(caught.value)


def zipped(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


PLAIN = json.dumps([FEATURE]).encode()


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(PLAIN),
        gzip.compress(PLAIN[:9]) + gzip.compress(PLAIN[9:]),
        zipped(("a.geojson", PLAIN)),
        zipped(("sub/", b""), ("sub/a.geojson", PLAIN), ("__MACOSX/._a.geojson", b"x")),
    ],
    ids=["gzip", "two gzip members", "zip", "zip with folders"],  # bytes hold the time of day
)
def test_compressed_files_are_unpacked(written: Writer, packed: bytes) -> None:
    for name in ("a.geojson", "a.geojson.gz", "a.zip"):
        (shape,) = read_annotations(written(packed, name), "a").shapes
        assert shape.centre == (1, 2)


def test_compressed_coco_and_xml_are_unpacked(written: Writer) -> None:
    path = written(gzip.compress(json.dumps(COCO).encode()))
    assert [len(read_annotations(path, name).shapes) for name in ("a.svs", "b.svs")] == [1, 0]
    assert read_annotations(written(gzip.compress(ASAP.encode())), "a").format == "ASAP XML"


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (gzip.compress(PLAIN)[:-12], "cannot be unpacked"),
        (gzip.compress(PLAIN)[:-8] + b"00000000", "cannot be unpacked"),
        (b"\x1f\x8b" + b"\x07" * 50, "cannot be unpacked"),
        (zipped(("a.geojson", PLAIN))[:-20], "cannot be unpacked"),
        (zipped(("a.geojson", PLAIN), ("b.geojson", PLAIN)), "a ZIP archive of 2 files"),
        (zipped(), "is compressed; unpack it"),
        (bz2.compress(PLAIN), "is compressed; unpack it"),
        (lzma.compress(PLAIN), "is compressed; unpack it"),
        (gzip.compress(gzip.compress(PLAIN)), "is compressed; unpack it"),
        (gzip.compress(b"SQLite format 3\x00" + b"\x07" * 5000), "is compressed; unpack it"),
        (gzip.compress(b""), "is empty"),
        (gzip.compress(b"path,domain"), "is neither XML, JSON nor SQLite"),
    ],
    ids=lambda each: "packed" if isinstance(each, bytes) else each,
)
def test_file_that_cannot_be_unpacked_is_refused(
    written: Writer, packed: bytes, message: str
) -> None:
    path = written(packed)
    with pytest.raises(SourceError, match=rf"^{path}: .*{message}") as caught:
        read_annotations(path, "a.svs")
    assert "\n" not in str(caught.value)


def test_decompression_bomb_is_refused(written: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LARGEST", 1000)
    bomb = b"[" + b" " * 5000 + b"]"
    for packed in (gzip.compress(bomb), zipped(("a.json", bomb))):
        with pytest.raises(SourceError, match="is compressed; unpack it"):
            read_annotations(written(packed), "a.svs")


def test_folders_and_missing_files_give_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot be read \(Is a directory\); .*check the path"):
        read_annotations(tmp_path, "a.svs")
    with pytest.raises(SourceError, match=r"none.json: cannot be read \(No such file"):
        read_annotations(tmp_path / "none.json", "a.svs")


def test_several_slides_are_parsed_once_until_the_file_changes(
    written: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading._parse.cache_clear()
    opened = []
    monkeypatch.setattr(
        reading,
        "open_coco",
        lambda *given, real=reading.open_coco: opened.append(1) or real(*given),
    )
    path = written(COCO)
    assert len(read_annotations(path, "a.svs").shapes) == 1
    assert len(read_annotations(path, "b.svs").shapes) == 0
    assert len(opened) == 1
    path = written({**COCO, "annotations": [{**BOX, "image_id": 2}]})
    os.utime(path, ns=(1, 1))
    assert len(read_annotations(path, "b.svs").shapes) == 1
    assert len(opened) == 2


def test_files_about_one_slide_are_not_cached(written: Writer) -> None:
    read_annotations(written([FEATURE]), "a.svs")
    assert reading._parse.cache_info().currsize == 0


def test_threads_get_equal_annotations(written: Writer, sliderunner: Writer) -> None:
    paths = [written(COCO), sliderunner([(1, 1, 1, 1, [(5, 6)])]), written([FEATURE], "b.json")]
    found: list[list[int]] = []

    def read() -> None:
        found.append([len(read_annotations(path, "a.svs").shapes) for path in paths * 5])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1] * 15] * 4


def test_darwin_is_refused_with_the_list_of_known_formats(shared_data: Path) -> None:
    path = shared_data / "annotations" / "darwin_103S.json"
    with pytest.raises(SourceError, match="SlideRunner sqlite, MIDOG json, COCO json") as caught:
        read_annotations(path, "103S.tif")
    assert "'schema_ref'" in str(caught.value)


def test_every_real_file_is_read_or_refused(shared_data: Path) -> None:
    files = sorted((shared_data / "annotations").iterdir())
    refused = []
    for path in files:
        try:
            for slide in reading._open(path).slides or [ListedSlide("any.svs", None, "")]:
                read_annotations(path, slide.name)
        except SourceError:
            refused.append(path.name)
    assert (len(files), refused) == (14, ["darwin_103S.json"])


@pytest.mark.parametrize("name", ["MIDOG.json", "tumor_001.xml", "TUPAC_stitched.sqlite"])
def test_truncated_real_files_give_one_line(shared_data: Path, written: Writer, name: str) -> None:
    whole = (shared_data / "annotations" / name).read_bytes()
    for share in (0.02, 0.3, 0.7, 0.99):
        path = written(whole[: int(len(whole) * share)])
        with pytest.raises(SourceError, match=rf"^{path}: is (not valid|an incomplete) ") as caught:
            read_annotations(path, "a.svs")
        assert "\n" not in str(caught.value)


def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(SourceError, match="a pipe or a device"):
        read_annotations(tmp_path / "a.json", "a.svs")


# Slides are found by name, by stem, or as the only one of a size; never by chance.


def listed(*names: str, size: tuple[int, int] | None = None) -> list[ListedSlide]:
    return [ListedSlide(name, size, str(at)) for at, name in enumerate(names)]


@pytest.mark.parametrize(
    ("names", "slide", "key"),
    [
        (["b.svs", "a.svs"], "a.svs", "1"),
        (["a.svs", "a.tif"], "a.tif", "1"),
        (["A.svs", "a.svs"], "a.svs", "1"),
        (["b.svs", "A.SVS"], "a.tiff", "1"),
        (["a.b.svs", "a.svs"], "a.b.tif", "0"),
        (["Mu\u0308ller.svs", "b.svs"], "M\u00fcller.svs", "0"),
    ],
)
def test_exact_name_takes_precedence_over_the_stem(names: list[str], slide: str, key: str) -> None:
    assert choose_slide(listed(*names), slide, None, "f").key == key


def test_single_slide_of_equal_size_matches_any_name() -> None:
    assert choose_slide(listed("x.svs", size=(9, 8)), "a.svs", (9, 8), "f").name == "x.svs"


@pytest.mark.parametrize(
    ("slides", "size"),
    [
        (listed("x.svs", size=(9, 8)), (8, 9)),
        (listed("x.svs", size=(9, 8)), None),
        (listed("x.svs"), (9, 8)),
        (listed("x.svs", "y.svs", size=(9, 8)), (9, 8)),
        ([], (9, 8)),
    ],
)
def test_slide_that_matches_nothing_is_refused(
    slides: list[ListedSlide], size: tuple[int, int] | None
) -> None:
    with pytest.raises(SourceError, match=rf"^f: has no slide a.svs among its {len(slides)} slide"):
        choose_slide(slides, "a.svs", size, "f")


def test_unknown_slide_is_reported_with_similar_names() -> None:
    with pytest.raises(SourceError, match=r"did you mean TUPAC-01\.svs"):
        choose_slide(listed("TUPAC-01.svs", "other.svs"), "TUPAC-1.svs", None, "f")
    with pytest.raises(SourceError, match=r"4 slides \(b.svs, c.svs, d.svs, ...\)"):
        choose_slide(listed("b.svs", "c.svs", "d.svs", "e.svs"), "zzz", None, "f")


def test_slides_of_one_name_are_distinguished_by_size() -> None:
    pair = [ListedSlide("a.svs", (9, 8), "0"), ListedSlide("a.ndpi", (5, 4), "1")]
    assert choose_slide(pair, "a.tif", (5, 4), "f").key == "1"
    for size in (None, (1, 1)):
        with pytest.raises(SourceError, match=r"slide a.tif may be any of its a.svs, a.ndpi"):
            choose_slide(pair, "a.tif", size, "f")


def test_sizes_must_agree_if_both_are_known() -> None:
    check_size(None, (1, 2), "a.svs", "f")
    check_size((1, 2), None, "a.svs", "f")
    check_size((1, 2), (1, 2), "a.svs", "f")
    with pytest.raises(SourceError, match=r"^f: annotates a.svs as 4 x 2 pixels, .* has 2 x 1;"):
        check_size((4, 2), (2, 1), "a.svs", "f")
