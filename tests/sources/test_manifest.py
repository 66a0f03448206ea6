from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import SourceError
from skiptool.names import Split, composed
from skiptool.sources.manifest import (
    guarded,
    manifest_rows,
    parse_manifest,
    read_manifest,
    split_of,
    unguarded,
    whole_number,
)
from small_stores import refused

NEEDED = ("image", "domain", "subject")
FILES = ("image", "mask")
HEAD = "image,mask,domain,subject\n"


def parse(text: str, folder: Path = Path("data")) -> list[dict[str, str]]:
    return [dict(row) for row in parse_manifest(text, "m.csv", folder, NEEDED, FILES)]


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text(HEAD + "x/1.png,/abs/1.png,A,s1\n2.png,,B,s2\n")
    assert read_manifest(file, NEEDED, FILES) == [
        {
            **{"image": str(tmp_path / "x/1.png"), "mask": "/abs/1.png"},
            **{"domain": "A", "subject": "s1"},
        },
        {"image": str(tmp_path / "2.png"), "mask": "", "domain": "B", "subject": "s2"},
    ]


CELL = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=6
).filter(lambda text: text.strip() == text)


@given(
    rows=st.lists(st.tuples(CELL, CELL, st.just("") | CELL), min_size=1, max_size=4),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.sampled_from(["", "\ufeff"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_other_programs_write_is_read(
    rows: list[tuple[str, str, str]], delimiter: str, end: str, mark: str, quoting: int
) -> None:
    """Excel's semicolons and byte order mark, any line end, quotes or none."""
    names = ("domain", "subject", "organ")
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([names, *([guarded(cell) for cell in row] for row in rows)])
    found = parse_manifest(mark + text.getvalue(), "m", Path(), ("domain", "subject"), ())
    assert [tuple(row[name] for name in names) for row in found] == [
        tuple(map(composed, row)) for row in rows
    ]


@pytest.mark.parametrize("word", ["nan", "NA", "None", "<NA>", "#N/A", "null"])
def test_missing_values_of_other_programs_are_no_names(word: str) -> None:
    """pandas, R and spreadsheets write these; two such subjects are not one person."""
    with refused(SourceError, f"m.csv, line 2: subject is '{word}'", "missing value", "apostrophe"):
        parse(HEAD + f"1.png,m.png,A,{word}\n")
    (row,) = parse(HEAD + f"1.png,{word},A,'{word}\n")
    assert (row["mask"], row["subject"]) == ("", word)


@pytest.mark.parametrize(
    ("column", "known"),
    [
        *(("Mask", "mask"), ("masks", "mask"), ("Annotated as", "annotated_as"), ("MPP", "mpp")),
        *(("anotations", "annotations"), ("center", "centre"), ("label-map", "label_map")),
    ],
)
def test_a_misspelt_column_is_not_passed_over(column: str, known: str) -> None:
    """Without it the images would have no masks, or the slides no pixel size."""
    text = f"path,domain,subject,{column}\na,A,s,x\n"
    with refused(SourceError, f"m: unknown column '{column}', which resembles '{known}'"):
        parse_manifest(text, "m", Path(), ("path", "domain", "subject"), (), (known,))
    (row,) = parse_manifest(text, "m", Path(), ("path", "domain", "subject"), (), ())
    assert row[column] == "x"


@pytest.mark.parametrize("column", ["idx", "pid", "side", "site", "scanner", "age"])
def test_columns_of_others_are_no_slips(column: str) -> None:
    optional = ("id", "slide", "split", "mask", "fold", "level", "mpp", "mpp_y")
    text = f"path,domain,subject,{column}\na,A,s,x\n"
    (row,) = parse_manifest(text, "m", Path(), ("path", "domain", "subject"), (), optional)
    assert row[column] == "x"


def test_the_first_line_of_excel_says_the_delimiter() -> None:
    text = '"sep=;"\r\nimage;domain;subject;note\r\n1.png;A,1;s;x,y,z,w\r\n'
    assert parse(text)[0]["domain"] == "A,1"
    with refused(SourceError, "m.csv, line 3: 5 values in 4 columns"):
        parse("sep=;\nimage;domain;subject;note\n1.png;A;s;x;y\n")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse(HEAD + "~/1.png,,A,s\n")[0]["image"] == str(tmp_path / "1.png")
    (tmp_path / "~").mkdir()
    (tmp_path / "~/1.png").touch()
    assert parse(HEAD + "~/1.png,,A,s\n", tmp_path)[0]["image"] == str(tmp_path / "~/1.png")


def test_numbers_and_splits_as_spreadsheets_write_them() -> None:
    assert [whole_number(text) for text in ("1.0", "1", "1.5", "A.0", "")] == [
        *("1", "1", "1.5", "A.0", "")
    ]
    assert [split_of({"split": text}, "a") for text in ("Train", "TEST", "")] == [
        *(Split.TRAIN, Split.TEST, None)
    ]


def test_both_spellings_of_an_accent_are_one_name_and_find_their_file(tmp_path: Path) -> None:
    """A subject that was typed on two systems is never on both sides of a split."""
    apart, joined = "Rene\u0301", "Ren\u00e9"
    (tmp_path / f"{apart}.png").touch()
    (tmp_path / "m.csv").write_text(
        f"image,domain,subject\n{joined}.png,A,{joined}\n{apart}.png,A,{apart}\n", "utf-8"
    )
    rows = read_manifest(tmp_path / "m.csv", NEEDED, FILES)
    assert {row["subject"] for row in rows} == {joined}
    assert {row["image"] for row in rows} == {str(tmp_path / f"{apart}.png")}


def test_spaces_blank_lines_and_short_lines_do_no_harm() -> None:
    text = "\n image , domain ,subject, organ\n\n 1.png, A ,s1\n,,,\n2.png,B,s2,skin,,\n\n"
    assert parse(text) == [
        {"image": "data/1.png", "domain": "A", "subject": "s1", "organ": ""},
        {"image": "data/2.png", "domain": "B", "subject": "s2", "organ": "skin"},
    ]


def test_a_quoted_value_may_hold_the_delimiter_and_a_line_end() -> None:
    (row,) = parse(HEAD + '"a,b.png",,"two\nlines",s\n')
    assert (row["image"], row["domain"]) == ("data/a,b.png", "two\nlines")


def test_columns_without_a_name_are_left_out() -> None:
    """As a spreadsheet leaves them behind the last column."""
    (row,) = parse("image,domain,subject,,\n1.png,A,s,x,\n")
    assert row == {"image": "data/1.png", "domain": "A", "subject": "s"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no rows"]),
        ("\n \n", ["no rows"]),
        (HEAD, ["no rows"]),
        (HEAD + ",,,\n", ["no rows"]),
        ("image,domain\n1.png,A\n", ["no column subject", "image, domain"]),
        ("image,domain,subjekt\n", ["no column subject", "did you mean subjekt?"]),
        ("1.png,A,s1\n", ["no column image, domain, subject"]),
        ("image,domain,subject,image\n1,A,s,2\n", ["column image is there twice"]),
        (HEAD + "1.png,,A,s1\n\n2.png,,,s2\n", ["line 4", "domain is empty"]),
        (HEAD + '"1.png\n",,,s1\n', ["line 3", "domain is empty"]),
        (HEAD + "a,b.png,,A,s1\n", ["line 2", "5 values in 4 columns", "quotes"]),
        (HEAD + '"1.png,,A,s1\n', ["line 2", "unexpected end of data"]),
        ('"image,domain,subject\n1,A,s\n', ["line 2", "unexpected end of data"]),
        (HEAD + '"1"x.png,,A,s1\n', ["line 2"]),
        (HEAD + "1\x00.png,,A,s1\n", ["NUL"]),
        (HEAD + "x" * 200_000 + ",,A,s1\n", ["line 2", "field larger than field limit"]),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_line(text: str, words: list[str]) -> None:
    with pytest.raises(SourceError) as caught:
        parse(text)
    for word in ("m.csv", *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.csv").write_bytes(HEAD.encode("utf-16")[:-1])
    (tmp_path / "folder.csv").mkdir()
    for name, word in (
        ("nowhere.csv", "no such manifest"),
        ("cut.csv", "not in UTF-16"),
        ("folder.csv", "cannot be read"),
    ):
        with pytest.raises(SourceError, match=word) as caught:
            read_manifest(tmp_path / name, NEEDED, FILES)
        assert str(tmp_path / name) in str(caught.value)


def test_a_text_stands_for_a_file(tmp_path: Path) -> None:
    text = HEAD + "1.png,,A,s1\n"
    (tmp_path / "m.csv").write_text(text)
    (row,), (piped,) = (manifest_rows(m, NEEDED, FILES) for m in (tmp_path / "m.csv", text))
    assert (row["image"], piped["image"]) == (str(tmp_path / "1.png"), "1.png")
    with pytest.raises(SourceError, match="stdin: has no column image"):
        manifest_rows("domain,subject\nA,s\n", NEEDED, FILES)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "'=1", "''-x", "a=1", "'a'", "", "'"])
def test_cells_are_guarded_and_read_as_they_were(text: str) -> None:
    cell = guarded(text)
    assert isinstance(cell, str)
    assert not cell.startswith(("=", "+", "-", "@"))
    assert unguarded(cell) == text
    assert guarded(-1) == -1


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "mac-roman"])
def test_letters_of_other_encodings_are_named_with_their_line(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("image,subject\na,Meier\nb,Müller\n".encode(encoding))
    with refused(SourceError, path, "line 3", "not in UTF-8", "'CSV UTF-8'"):
        read_manifest(path, ["image"], [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig"])
def test_encodings_that_say_what_they_are(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("image\tsubject\r\nb\tMüller\r\n".encode(encoding))
    assert read_manifest(path, ["image"], []) == [{"image": "b", "subject": "Müller"}]
