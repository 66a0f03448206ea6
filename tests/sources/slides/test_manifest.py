"""Manifests of slides: what each column becomes, and the one line for what cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skiptool.errors import SourceError
from skiptool.names import Split
from skiptool.sources.slides.manifest import (
    SlideRow,
    check_file,
    check_tiles,
    content_key,
    slide_rows,
)
from small_stores import refused

FULL = (
    "path,domain,subject,slide,annotations,annotated_as,split,mpp,mpp_y,level,x_offset,y_offset,"
    "label_map"
)


def one(values: str, header: str = FULL) -> SlideRow:
    rows, rejected, failures = slide_rows(f"{header}\n{values}\n")
    assert (rejected, failures) == ([], [])
    (row,) = rows
    return row


def test_every_column_is_parsed() -> None:
    found = one('a.svs,A,s1,block 2,a.json,old.svs,test,0.25,0.26,2,-5,7.5,"t=SCC,BCC;n=Dermis"')
    assert found == SlideRow(
        path=Path("a.svs"),
        domain="A",
        subject="s1",
        slide="block 2",
        annotations=Path("a.json"),
        annotated_as="old.svs",
        split=Split.TEST,
        mpp=(0.25, 0.26),
        level=2,
        offset=(-5.0, 7.5),
        label_map="t=SCC,BCC;n=Dermis",
    )


@pytest.mark.parametrize("header", [FULL, "path,domain,subject"])
def test_empty_and_absent_columns_are_equivalent(header: str) -> None:
    assert one("a.svs,A,s1", header) == SlideRow(Path("a.svs"), "A", "s1")


def test_single_pixel_size_applies_to_both_axes() -> None:
    assert one("a.svs,A,s,0.25", "path,domain,subject,mpp").mpp == (0.25, 0.25)


@pytest.mark.parametrize(
    "text",
    [
        "path;domain;subject;annotations\nsub/a.svs;A;s;a.json\n",
        "\ufeffpath\tdomain\tsubject\tannotations\r\nsub/a.svs\tA\ts\ta.json\r\n\r\n",
        'subject,path,annotations,domain,note\n"s","sub/a.svs",a.json,A,"x, y"\n',
    ],
)
def test_csv_and_tsv_with_relative_paths_are_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "slides.txt"
    path.write_text(text, encoding="utf-8")
    (row,), rejected, failures = slide_rows(path)
    assert (rejected, failures) == ([], [])
    assert (row.path, row.annotations) == (tmp_path / "sub" / "a.svs", tmp_path / "a.json")
    assert (row.domain, row.subject) == ("A", "s")


def test_absolute_paths_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "slides.csv"
    path.write_text(f"path,domain,subject\n{Path('/elsewhere/a.svs')},A,s\n")
    assert slide_rows(path)[0][0].path == Path("/elsewhere/a.svs")


BAD = {
    "domain": ("a.svs,A/B,s,,,,", ("domain", "'A/B'")),
    "split": ("a.svs,A,s,val,,,", ("split 'val'", "train or test")),
    "mpp text": ("a.svs,A,s,,0.25um,,", ("mpp '0.25um' is not a number",)),
    "mpp comma": ('a.svs,A,s,,"0,25",,', ("mpp '0,25' is not a number", "decimal point")),
    "mpp infinite": ("a.svs,A,s,,inf,,", ("mpp 'inf'",)),
    "mpp_y alone": ("a.svs,A,s,,,0.25,", ("mpp_y is given, mpp is empty",)),
    "level half": ("a.svs,A,s,,,,0.5", ("level '0.5'", "non-negative integer")),
    "level negative": ("a.svs,A,s,,,,-1", ("level '-1'",)),
    "level text": ("a.svs,A,s,,,,top", ("level 'top' is not a number",)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_row_is_reported_and_the_others_kept(name: str) -> None:
    values, fragments = BAD[name]
    rows, (rejected,), (line,) = slide_rows(
        f"path,domain,subject,split,mpp,mpp_y,level\nz.svs,A,s\n{values}\ny.svs,A,s\n"
    )
    assert [row.path.name for row in rows] == ["z.svs", "y.svs"]
    assert (rejected.path.name, rejected.subject) == ("a.svs", "s")
    assert line.startswith("a.svs")
    assert "\n" not in line
    for fragment in fragments:
        assert fragment in line


def test_manifest_without_a_column_is_refused() -> None:
    with refused(SourceError, "stdin", "no column subject", "did you mean subjects"):
        slide_rows("path,domain,subjects\na.svs,A,s\n")


def test_missing_manifest_is_refused(tmp_path: Path) -> None:
    with refused(SourceError, "gone.csv: no such manifest"):
        slide_rows(tmp_path / "gone.csv")


# Keys of slides follow their content, not their names.


def test_copy_has_the_same_key(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    for name in ("a.svs", "b.ndpi"):
        (tmp_path / name).write_bytes(data)
    os.utime(tmp_path / "b.ndpi", (0, 0))
    key = content_key(tmp_path / "a.svs")
    assert key == content_key(tmp_path / "b.ndpi")
    assert len(key) == 32
    assert int(key, 16)


@pytest.mark.parametrize("position", [0, (1 << 20) - 1, (3 << 20) - 1])
def test_key_depends_on_first_and_last_megabyte(tmp_path: Path, position: int) -> None:
    data = bytearray(3 << 20)
    (tmp_path / "a.svs").write_bytes(data)
    data[position] = 1
    (tmp_path / "b.svs").write_bytes(data)
    assert content_key(tmp_path / "a.svs") != content_key(tmp_path / "b.svs")


def test_key_depends_on_the_size(tmp_path: Path) -> None:
    keys = set()
    for number, size in enumerate((1, 2, 5 << 20, (5 << 20) + 1)):
        path = tmp_path / f"{number}.svs"
        path.write_bytes(bytes(size))
        keys.add(content_key(path))
    assert len(keys) == 4


def test_key_depends_on_the_folder_of_an_mrxs(tmp_path: Path) -> None:
    keys = []
    for name, files in (("a", {"Data0.dat": 3}), ("b", {"Data0.dat": 3}), ("c", {"Data0.dat": 4})):
        (tmp_path / f"{name}.mrxs").write_bytes(b"picture of the slide")
        (tmp_path / name).mkdir()
        for file, size in files.items():
            (tmp_path / name / file).write_bytes(bytes(size))
        keys.append(content_key(tmp_path / f"{name}.mrxs"))
    assert keys[0] == keys[1] != keys[2]


def test_key_ignores_folders_next_to_other_slides(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"x")
    before = content_key(tmp_path / "a.svs")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_bytes(b"x")
    assert content_key(tmp_path / "a.svs") == before


def test_unreadable_slide_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").touch()
    (tmp_path / "whole.svs").write_bytes(b"x")
    check_file(tmp_path / "whole.svs")
    with refused(SourceError, "none.svs", "no such slide"):
        check_file(tmp_path / "none.svs")
    with refused(SourceError, "empty.svs", "is empty", "copy it again"):
        check_file(tmp_path / "empty.svs")
    with refused(SourceError, tmp_path, "a folder"):
        check_file(tmp_path)
    with refused(SourceError, "cannot be read"):
        check_file(tmp_path / ("x" * 300))
    with refused(SourceError, tmp_path, "cannot be read"):
        content_key(tmp_path)


def test_oversized_tiles_are_refused(tmp_path: Path) -> None:
    def tiles(side: int) -> dict[str, str]:
        return {f"openslide.level[1].tile-{axis}": str(side) for axis in ("width", "height")}

    check_tiles(tiles(8192), 2, tmp_path)
    check_tiles({}, 3, tmp_path)
    with pytest.raises(SourceError, match="tiles of 8,193 x 8,193 pixels"):
        check_tiles(tiles(8193), 2, tmp_path)


def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.svs")
    for look in (check_file, content_key):
        with pytest.raises(SourceError, match="a pipe or a device"):
            look(tmp_path / "s.svs")
