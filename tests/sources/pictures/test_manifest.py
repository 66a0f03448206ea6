"""Tests of ``manifest``."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiptool.errors import ArgumentError, SourceError
from skiptool.names import Split, normalise_unicode
from skiptool.sources.pictures.manifest import (
    MaskPattern,
    NamePattern,
    escape_formula,
    identity_from_folders,
    manifest_rows,
    pair_folders,
    parse_manifest,
    parse_name,
    parse_split,
    read_manifest,
    strip_decimal_zero,
    unescape_formula,
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
def test_tables_of_other_programs_are_read(
    rows: list[tuple[str, str, str]], delimiter: str, end: str, mark: str, quoting: int
) -> None:
    """Excel's semicolons and byte order mark, any line end, quotes or none."""
    names = ("domain", "subject", "organ")
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([names, *([escape_formula(cell) for cell in row] for row in rows)])
    found = parse_manifest(mark + text.getvalue(), "m", Path(), ("domain", "subject"), ())
    assert [tuple(row[name] for name in names) for row in found] == [
        tuple(map(normalise_unicode, row)) for row in rows
    ]


@pytest.mark.parametrize("word", ["nan", "NA", "None", "<NA>", "#N/A", "null"])
def test_missing_values_of_other_programs_are_not_names(word: str) -> None:
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
def test_misspelt_column_is_refused(column: str, known: str) -> None:
    """Without it the images would have no masks, or the slides no pixel size."""
    text = f"path,domain,subject,{column}\na,A,s,x\n"
    with refused(SourceError, f"m: unknown column '{column}' resembles '{known}'"):
        parse_manifest(text, "m", Path(), ("path", "domain", "subject"), (), (known,))
    (row,) = parse_manifest(text, "m", Path(), ("path", "domain", "subject"), (), ())
    assert row[column] == "x"


@pytest.mark.parametrize("column", ["idx", "pid", "side", "site", "scanner", "age"])
def test_unrelated_columns_are_not_misspellings(column: str) -> None:
    optional = ("id", "slide", "split", "mask", "fold", "level", "mpp", "mpp_y")
    text = f"path,domain,subject,{column}\na,A,s,x\n"
    (row,) = parse_manifest(text, "m", Path(), ("path", "domain", "subject"), (), optional)
    assert row[column] == "x"


def test_first_line_of_excel_sets_the_delimiter() -> None:
    text = '"sep=;"\r\nimage;domain;subject;note\r\n1.png;A,1;s;x,y,z,w\r\n'
    assert parse(text)[0]["domain"] == "A,1"
    with refused(SourceError, "m.csv, line 3: 5 values in 4 columns"):
        parse("sep=;\nimage;domain;subject;note\n1.png;A;s;x;y\n")


def test_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse(HEAD + "~/1.png,,A,s\n")[0]["image"] == str(tmp_path / "1.png")
    (tmp_path / "~").mkdir()
    (tmp_path / "~/1.png").touch()
    assert parse(HEAD + "~/1.png,,A,s\n", tmp_path)[0]["image"] == str(tmp_path / "~/1.png")


def test_numbers_and_splits_of_spreadsheets_are_parsed() -> None:
    assert [strip_decimal_zero(text) for text in ("1.0", "1", "1.5", "A.0", "")] == [
        *("1", "1", "1.5", "A.0", "")
    ]
    assert [parse_split({"split": text}, "a") for text in ("Train", "TEST", "")] == [
        *(Split.TRAIN, Split.TEST, None)
    ]


def test_both_normalisations_of_a_name_find_their_file(tmp_path: Path) -> None:
    """A subject that was typed on two systems is never on both sides of a split."""
    apart, joined = "Rene\u0301", "Ren\u00e9"
    (tmp_path / f"{apart}.png").touch()
    (tmp_path / "m.csv").write_text(
        f"image,domain,subject\n{joined}.png,A,{joined}\n{apart}.png,A,{apart}\n", "utf-8"
    )
    rows = read_manifest(tmp_path / "m.csv", NEEDED, FILES)
    assert {row["subject"] for row in rows} == {joined}
    assert {row["image"] for row in rows} == {str(tmp_path / f"{apart}.png")}


def test_spaces_blank_lines_and_short_lines_are_accepted() -> None:
    text = "\n image , domain ,subject, organ\n\n 1.png, A ,s1\n,,,\n2.png,B,s2,skin,,\n\n"
    assert parse(text) == [
        {"image": "data/1.png", "domain": "A", "subject": "s1", "organ": ""},
        {"image": "data/2.png", "domain": "B", "subject": "s2", "organ": "skin"},
    ]


def test_quoted_value_may_contain_delimiter_and_line_end() -> None:
    (row,) = parse(HEAD + '"a,b.png",,"two\nlines",s\n')
    assert (row["image"], row["domain"]) == ("data/a,b.png", "two\nlines")


def test_unnamed_columns_are_skipped() -> None:
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
        ("image,domain,subject,image\n1,A,s,2\n", ["column image occurs twice"]),
        (HEAD + "1.png,,A,s1\n\n2.png,,,s2\n", ["line 4", "domain is empty"]),
        (HEAD + '"1.png\n",,,s1\n', ["line 3", "domain is empty"]),
        (HEAD + "a,b.png,,A,s1\n", ["line 2", "5 values in 4 columns", "quote"]),
        (HEAD + '"1.png,,A,s1\n', ["line 2", "unexpected end of data"]),
        ('"image,domain,subject\n1,A,s\n', ["line 2", "unexpected end of data"]),
        (HEAD + '"1"x.png,,A,s1\n', ["line 2"]),
        (HEAD + "1\x00.png,,A,s1\n", ["NUL"]),
        (HEAD + "x" * 200_000 + ",,A,s1\n", ["line 2", "field larger than field limit"]),
    ],
)
def test_malformed_manifest_is_refused_with_the_line(text: str, words: list[str]) -> None:
    with pytest.raises(SourceError) as caught:
        parse(text)
    for word in ("m.csv", *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.csv").write_bytes(HEAD.encode("utf-16")[:-1])
    (tmp_path / "folder.csv").mkdir()
    for name, word in (
        ("nowhere.csv", "no such manifest"),
        ("cut.csv", "not valid UTF-16"),
        ("folder.csv", "cannot be read"),
    ):
        with pytest.raises(SourceError, match=word) as caught:
            read_manifest(tmp_path / name, NEEDED, FILES)
        assert str(tmp_path / name) in str(caught.value)


def test_text_is_accepted_instead_of_a_file(tmp_path: Path) -> None:
    text = HEAD + "1.png,,A,s1\n"
    (tmp_path / "m.csv").write_text(text)
    (row,), (piped,) = (manifest_rows(m, NEEDED, FILES) for m in (tmp_path / "m.csv", text))
    assert (row["image"], piped["image"]) == (str(tmp_path / "1.png"), "1.png")
    with pytest.raises(SourceError, match="stdin: has no column image"):
        manifest_rows("domain,subject\nA,s\n", NEEDED, FILES)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "'=1", "''-x", "a=1", "'a'", "", "'"])
def test_guarded_cells_round_trip(text: str) -> None:
    cell = escape_formula(text)
    assert isinstance(cell, str)
    assert not cell.startswith(("=", "+", "-", "@"))
    assert unescape_formula(cell) == text
    assert escape_formula(-1) == -1


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "mac-roman"])
def test_other_encodings_are_refused_with_the_line(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("image,subject\na,Meier\nb,Müller\n".encode(encoding))
    with refused(SourceError, path, "line 3", "not valid UTF-8", "'CSV UTF-8'"):
        read_manifest(path, ["image"], [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig"])
def test_encodings_with_byte_order_mark_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("image\tsubject\r\nb\tMüller\r\n".encode(encoding))
    assert read_manifest(path, ["image"], []) == [{"image": "b", "subject": "Müller"}]


# Folders of pictures: matched by name, and who they are by folder or pattern.


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_pictures_are_matched_by_their_stem(tmp_path: Path) -> None:
    images = put(tmp_path / "i", "b.PNG", "a.jpg", "c.d.tif", "._a.png", ".git/x.png", "Thumbs.db")
    masks = put(tmp_path / "m", "a.png", "b.tiff", "c.d.png")
    rows, failures = pair_folders(images, masks, "A")
    assert failures == []
    assert rows == [
        {
            **{"image": str(images / name), "mask": str(masks / mask)},
            **{"domain": "A", "subject": stem, "id": stem},
        }
        for name, mask, stem in [
            ("a.jpg", "a.png", "a"),
            ("b.PNG", "b.tiff", "b"),
            ("c.d.tif", "c.d.png", "c.d"),
        ]
    ]


def test_names_in_two_normalisations_match(tmp_path: Path) -> None:
    """Copied from a Mac, the accents of a name are characters of their own."""
    apart, joined = "Mu\u0308ller", "M\u00fcller"
    images, masks = put(tmp_path / "i", f"{joined}/1.png"), put(tmp_path / "m", f"{apart}/1.png")
    rows, failures = pair_folders(images, masks, None, NamePattern.parse("{subject}/{id}"))
    assert (len(rows), failures) == (1, [])
    assert rows[0]["subject"] == joined
    rows, failures = pair_folders(masks, images)
    assert (rows[0]["domain"], rows[0]["image"]) == (joined, str(masks / f"{apart}/1.png"))


def test_broken_links_are_reported_and_system_files_are_not(tmp_path: Path) -> None:
    """git-annex and DVC leave such links where a file was not fetched."""
    images = put(tmp_path / "i", "a.png", "@eaDir/a.png@SynoEAStream", "__MACOSX/b.png")
    masks = put(tmp_path / "m", "a.png", "b.png")
    (images / "b.png").symlink_to("../annex/b.png")
    rows, failures = pair_folders(images, masks)
    assert [row["id"] for row in rows] == ["a"]
    link, mask = failures
    assert "b.png: a broken link to ../annex/b.png" in link
    assert "no image named b.*" in mask


def test_skipped_files_are_reported(tmp_path: Path) -> None:
    images = put(tmp_path / "i", "a.png", "b.png", "b.tif", "c.png", "d.bmp", "e.png")
    put(images, "v.nii.gz", "bare")
    masks = put(tmp_path / "m", "a.png", "b.png", "e.png", "e.tif", "f.png")
    rows, failures = pair_folders(images, masks)
    assert [row["id"] for row in rows] == ["a"]
    expected = (
        ("bare: suffix (none) is not one of",),
        ("d.bmp: suffix .bmp is not one of .png, .tif",),
        ("v.nii.gz: a volume; use 'skiptool extract mri'",),
        ("b.png, ", "b.tif: 2 pictures of the same name"),
        (f"c.png: no mask named c.* in {masks}",),
        ("e.png, ", "e.tif: 2 pictures of the same name"),
        (f"f.png: no image named f.* in {images}",),
    )
    assert len(failures) == len(expected)
    for line, words in zip(failures, expected, strict=True):
        assert all(word in line for word in words), line


def test_folders_are_domains_and_subjects(tmp_path: Path) -> None:
    names = ["top.png", "A/1.png", "A/p1/1.png", "B/p1/1.png", "B/p1/day 2/1.png"]
    images, masks = put(tmp_path / "i", *names), put(tmp_path / "m", *names)
    rows, _ = pair_folders(images, masks)
    found = {(row["domain"], row["subject"], row["id"]) for row in rows}
    assert found == {
        ("images", "top", "top"),
        ("A", "1", "1"),
        ("A", "p1", "p1-1"),
        ("B", "p1", "p1-1"),
        ("B", "p1", "p1-day 2-1"),
    }
    rows, _ = pair_folders(images, masks, "phone")
    assert {row["domain"] for row in rows} == {"phone"}
    assert {row["subject"] for row in rows} == {"top", "A", "B"}


def test_pattern_sets_domain_and_subject(tmp_path: Path) -> None:
    names = ["A/train/s_1_01.png", "B/test/s_2_01.png", "odd.png"]
    images, masks = put(tmp_path / "i", *names), put(tmp_path / "m", *names)
    pattern = NamePattern.parse("{domain}/{split}/{subject}_{}")
    rows, (line,) = pair_folders(images, masks, None, pattern)
    assert line.startswith("odd.png: does not match --pattern {domain}/{split}/{subject}_{}")
    assert [(row["domain"], row["split"], row["subject"], row["id"]) for row in rows] == [
        ("A", "train", "s_1", "train-s_1_01"),
        ("B", "test", "s_2", "test-s_2_01"),
    ]


def test_same_name_in_two_domains_is_paired() -> None:
    for domain in ("Aperio", "Hamamatsu"):
        assert parse_name(f"{domain}/p1_3.png", None, None)["id"] == "p1_3"


def test_folders_that_cannot_be_matched_are_refused(tmp_path: Path) -> None:
    good = put(tmp_path / "good", "a.png")
    empty = put(tmp_path / "empty", "a.txt")
    for images, masks, words in (
        (tmp_path / "nowhere", good, ["nowhere", "no such folder"]),
        (good, tmp_path / "nowhere", ["nowhere", "no such folder"]),
        (good / "a.png", good, ["a.png", "no such folder"]),
        (empty, good, ["empty", "has no picture (.png, .tif", "a.txt: suffix .txt"]),
    ):
        with refused(SourceError, *words):
            pair_folders(images, masks, "A")


def test_masks_may_lie_in_a_folder_of_the_images(tmp_path: Path) -> None:
    images = put(tmp_path / "x", "a.png", "p/b.png", "masks/a.png", "masks/p/b.png")
    for first, second in ((images, images / "masks"), (images / "masks", images)):
        rows, failures = pair_folders(first, second, "A")
        assert [Path(row["image"]).relative_to(first).as_posix() for row in rows] == [
            "a.png",
            "p/b.png",
        ]
        assert failures == []


@pytest.mark.parametrize("name", ["A/b.png", "b.png"])
def test_given_domain_takes_precedence(name: str) -> None:
    assert parse_name(name, "D", None)["domain"] == "D"


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    for part in ("i", "m"):
        for name in (f"{part}/A/1.png", f"{part}-elsewhere/2.png"):
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).touch()
        (tmp_path / part / "B").symlink_to(tmp_path / f"{part}-elsewhere")
        (tmp_path / part / "A" / "back").symlink_to(tmp_path / part)
    found, failures = pair_folders(tmp_path / "i", tmp_path / "m")
    assert failures == []
    assert [(row["domain"], Path(row["image"]).name) for row in found] == [
        ("A", "1.png"),
        ("B", "2.png"),
    ]


def test_masks_may_have_other_names(tmp_path: Path) -> None:
    images = put(tmp_path / "i", "A/0.jpg", "A/1.jpg", "B/0.jpg")
    masks = put(tmp_path / "m", "A/0_gt.png", "A/1_gt.tif", "B/9_gt.png")
    rows, failures = pair_folders(images, masks, mask_pattern=MaskPattern.parse("{}_gt"))
    assert [(Path(r["image"]).name, Path(r["mask"]).name, r["id"]) for r in rows] == [
        ("0.jpg", "0_gt.png", "0"),
        ("1.jpg", "1_gt.tif", "1"),
    ]
    assert failures == [
        f"{images}/B/0.jpg: no mask named B/0_gt.* in {masks}",
        f"{masks}/B/9_gt.png: no image for it in {images}",
    ]


def test_one_folder_may_contain_images_and_masks(tmp_path: Path) -> None:
    names = ("0.png", "0_mask.png", "1.png", "1_mask.png", "2.png", "old_mask.png", "notes.md")
    both = put(tmp_path / "d", *names)
    with refused(SourceError, both, "the folder of images and of masks", "--mask-pattern"):
        pair_folders(both, both)
    rows, failures = pair_folders(both, both, mask_pattern=MaskPattern.parse("{}_mask"))
    assert [Path(row["mask"]).name for row in rows] == ["0_mask.png", "1_mask.png"]
    assert len(failures) == 3
    assert "notes.md: suffix .md" in failures[0]
    assert failures[1:] == [
        f"{both}/2.png: no mask named 2_mask.* in {both}",
        f"{both}/old_mask.png: no mask named old_mask_mask.* in {both}",
    ]


@pytest.mark.parametrize("end", ["_mask", "_gt", "_seg", "-labels", "_segmentation"])
def test_fitting_mask_pattern_is_suggested(tmp_path: Path, end: str) -> None:
    images = put(tmp_path / "i", "0000.png", "0001.png")
    masks = put(tmp_path / "m", f"0000{end}.png", f"0001{end}.png")
    with refused(SourceError, masks, "all 2 images", f'--mask-pattern "{{}}{end}"'):
        pair_folders(images, masks)
    assert len(pair_folders(images, masks, mask_pattern=MaskPattern.parse(f"{{}}{end}"))[0]) == 2


def test_images_not_matching_the_mask_pattern_are_reported(tmp_path: Path) -> None:
    images, masks = put(tmp_path / "i", "0_img.png", "1.png"), put(tmp_path / "m", "0_seg.png")
    pattern = MaskPattern.parse("{}_img={}_seg")
    rows, failures = pair_folders(images, masks, mask_pattern=pattern)
    assert [row["id"] for row in rows] == ["0_img"]
    assert failures == [f"{images}/1.png: does not match --mask-pattern {{}}_img={{}}_seg"]


# Patterns of names: what stands in braces is found again.


WORD = st.text(st.sampled_from("ab01_-. (é+"), min_size=1, max_size=5)


@given(domain=WORD, subject=WORD, rest=st.text(st.sampled_from("ab01-("), min_size=1, max_size=4))
def test_fields_round_trip(domain: str, subject: str, rest: str) -> None:
    name = f"{domain}/{subject}_{rest}.png"
    found = NamePattern.parse("{domain}/{subject}_{}.png").read(name)
    assert found == {"domain": domain, "subject": subject}


def test_suffix_is_optional_in_a_pattern() -> None:
    for name in ("a_1.png", "a_1.TIF", "a_1.jpeg"):
        assert NamePattern.parse("{subject}_{id}").read(name) == {"subject": "a", "id": "1"}
    with pytest.raises(SourceError, match=r"a_1\.tif: does not match"):
        NamePattern.parse("{subject}_{id}.png").read("a_1.tif")


def test_repeated_field_must_be_equal() -> None:
    pattern = NamePattern.parse("{subject}/{subject}_{}")
    assert pattern.read("p1/p1_2.png") == {"subject": "p1"}
    with pytest.raises(SourceError, match="does not match"):
        pattern.read("p1/p2_2.png")


def test_fields_do_not_extend_beyond_a_folder() -> None:
    with pytest.raises(SourceError, match="does not match"):
        NamePattern.parse("{domain}_{}.png").read("a/b_c.png")


def test_regular_expression_characters_are_literal() -> None:
    assert NamePattern.parse("({subject})+.{}").read("(x)+.1.png") == {"subject": "x"}
    with pytest.raises(SourceError, match="does not match"):
        NamePattern.parse("a.{subject}").read("ab1.png")


@pytest.mark.parametrize(
    "text", ["", "a.png", "{}", "{scanner}/{}", "{domain", "domain}{id}", "{{id}}"]
)
def test_malformed_patterns_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(f"--pattern {text}: expected some of")):
        NamePattern.parse(text)


def test_folders_set_domain_and_subject_without_a_pattern() -> None:
    assert identity_from_folders("x/y/z.png", "D") == {"domain": "D", "subject": "x"}
    assert identity_from_folders("z.a.png", None) == {"subject": "z.a"}


@pytest.mark.parametrize(
    ("text", "image", "mask"),
    [
        ("{}_mask", "A/p/07", "A/p/07_mask"),
        ("{}_mask.png", "07", "07_mask"),
        ("{}.TIF", "07", "07"),
        ("gt_{}", "A/07", "A/gt_07"),
        ("{}/label", "A/07", "A/07/label"),
        ("{}_img={}_seg", "A/07_img", "A/07_seg"),
        ("image{}.jpg=label{}.png", "image3", "label3"),
        ("{}_img={}_seg", "07_image", None),
        ("{}_img={}_seg", "_img", None),
    ],
)
def test_mask_pattern_gives_the_name_of_the_mask(text: str, image: str, mask: str | None) -> None:
    assert MaskPattern.parse(text).mask_of(image) == mask


@pytest.mark.parametrize("text", ["", "_mask", "{}{}", "{}=_mask", "{}_{id}", "a/{}={}", "{x}"])
def test_malformed_mask_patterns_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="--mask-pattern"):
        MaskPattern.parse(text)


@pytest.mark.parametrize(
    ("images", "masks", "text"),
    [
        (["0", "1"], ["0_mask", "1_mask"], "{}_mask"),
        (["A/0", "B/0"], ["A/0_gt", "B/0_gt", "B/9_gt"], "{}_gt"),
        (["0_img", "10_img"], ["0_seg", "10_seg"], "{}img={}seg"),
        (["image1", "image12"], ["label1", "label12"], "image{}=label{}"),
        (["ISIC_1"], ["ISIC_1_segmentation"], "{}_segmentation"),
        (["a", "b"], ["a_mask", "c_mask"], None),
        ([], ["a"], None),
        (["a"], [], None),
        (["a"], ["b"], None),
    ],
)
def test_pattern_that_fits_all_images_is_guessed(
    images: list[str], masks: list[str], text: str | None
) -> None:
    found = MaskPattern.guess(images, masks)
    assert (found and found.text) == text
    assert found is None or all(found.mask_of(image) in masks for image in images)
