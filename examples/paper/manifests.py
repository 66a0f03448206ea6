"""Write the manifest of a public data set as it is unpacked, for the scripts in this folder.

Usage: python examples/paper/manifests.py SET FOLDER [--split FILE] [--mpp FACTOR] > manifest.csv
       python examples/paper/manifests.py check MANIFEST
       python examples/paper/manifests.py coarsest SLIDES

SET     what lies in FOLDER, and where the split comes from
ms-cct  SLIDE_SCANNER.tif, anywhere (scc_01_cs2.tif), and scc.json; the authors' scc_dataset.csv
ms-mf   SCANNER/SLIDE.*, a folder for each domain of scanners.csv, and one annotation file
        (.sqlite, .json) for the first of them; a table of your own with Slide and Dataset
midog   NNN.tiff, anywhere, and MIDOGpp.json; the authors' datasets_xvalidation.csv, whose column
        Scanner names the domains; --tumor keeps one tumor, "human breast cancer" unless given
mv-mr   Training/Labeled and Testing of the M&Ms challenge and its CSV, which say all; the domains
        are those of scanners.csv, one hospital each

The table of the split lies in FOLDER or is given with --split; its val counts as train, as folds
are made of both. --mpp FACTOR fills in the pixel size of Table I times FACTOR, for slides that do
not say their own: 1 for scans in full resolution, 4 for copies a quarter as wide. Paths are written
absolute. check says whether each row of a manifest names its split, and prints nothing if so;
coarsest prints the largest pixel size of the slides that 'extract wsi --dry-run' has listed.

Needs the standard library only.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

Row = dict[str, str]

SCANNERS = Path(__file__).with_name("scanners.csv")
TAGS = {
    "cs2": "Aperio ScanScope CS2",
    "nz210": "NanoZoomer S210",
    "nz20": "NanoZoomer 2.0-HT",
    "p1000": "Pannoramic 1000",
    "3dhistech": "Pannoramic 1000",
    "gt450": "Aperio GT450",
}
"""Ends of file names in the authors' code; two of its files call one scanner differently."""

CENTRES = {"A": "1", "B": "2", "C": "4", "D": "5"}
"""Vendor and hospital of section III.D, as the challenge numbers them."""

SIDES = {"train": "train", "val": "train", "test": "test"}
TUMOR = "human breast cancer"


class Unusable(Exception):
    """What is wrong, where, and what to do."""


def table(path: Path, *columns: str) -> list[Row]:
    """Read a CSV with commas or semicolons."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path}: cannot be read ({error}); check the path") from None
    first = text.partition("\n")[0]
    rows = list(csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=first.count)))
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise Unusable(f"{path}: has no rows with the column {missing[0]}; is it the right table?")
    return [{name: value or "" for name, value in row.items() if name} for row in rows]


def pixel_sizes(dataset: str) -> dict[str, float]:
    """Return micrometres (MR: millimetres) per pixel by domain, those of Table I."""
    rows = table(SCANNERS, "dataset", "domain", "pixel_size")
    return {row["domain"]: float(row["pixel_size"]) for row in rows if row["dataset"] == dataset}


def only(folder: Path, *patterns: str) -> Path:
    """Find the one file of a name."""
    found = sorted({path for pattern in patterns for path in folder.rglob(pattern)})
    if len(found) != 1:
        said = f"{len(found)} files" if found else "no file"
        raise Unusable(f"{folder}: holds {said} named {' or '.join(patterns)}; expected one")
    return found[0]


def files(found: Iterable[Path]) -> list[Path]:
    """Sort them; what a file manager leaves in folders is passed over."""
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def sides(folder: Path, given: Path | None, name: str) -> dict[str, Row]:
    """Return the authors' row of each slide, with its split instead of their word for it."""
    path = given or folder / name
    if not path.is_file():
        raise Unusable(f"{path}: no such table of the split; copy it there or give it by --split")
    rows = table(path, "Slide", "Dataset")
    odd = [row for row in rows if row["Dataset"] not in SIDES]
    if odd:
        raise Unusable(f"{path}: {odd[0]['Slide']} is for {odd[0]['Dataset']!r}; not {list(SIDES)}")
    return {Path(row["Slide"]).stem: row | {"split": SIDES[row["Dataset"]]} for row in rows}


def split_of(slide: str, known: dict[str, Row], path: Path) -> str:
    """Return the split of a slide."""
    if slide not in known:
        raise Unusable(f"{path}: slide {slide} is not in the table of the split; add it there")
    return known[slide]["split"]


def ms_cct(asked: argparse.Namespace) -> Iterator[Row]:
    """List the slides of the multi-scanner squamous cell carcinoma set."""
    known = sides(asked.folder, asked.split, "scc_dataset.csv")
    notes = only(asked.folder, "scc.json")
    sizes = pixel_sizes("MS-CCT")
    for path in files(asked.folder.rglob("*.tif")):
        slide, _, tag = path.stem.rpartition("_")
        if tag not in TAGS:
            raise Unusable(f"{path}: name ends in none of {', '.join(TAGS)}; move it elsewhere")
        yield {
            "path": str(path),
            "domain": TAGS[tag],
            "subject": slide,
            "annotations": str(notes) if tag == "cs2" else "",
            "split": split_of(slide, known, path),
            **pixels(asked, sizes[TAGS[tag]]),
        }


def ms_mf(asked: argparse.Namespace) -> Iterator[Row]:
    """List scans of the same slides, sorted into folders by scanner."""
    sizes = pixel_sizes("MS-MF")
    known = sides(asked.folder, asked.split, "split.csv")
    notes = only(asked.folder, "*.sqlite", "*.json")
    folders = [path for path in sorted(asked.folder.iterdir()) if path.is_dir()]
    odd = [path for path in folders if path.name not in sizes]
    if odd or not folders:
        said = odd[0] if odd else asked.folder
        raise Unusable(f"{said}: expected folders named {', '.join(sizes)} and no others")
    reference = next(iter(sizes))
    for folder in folders:
        for path in files(folder.iterdir()):
            first = folder.name == reference
            yield {
                "path": str(path),
                "domain": folder.name,
                "subject": path.stem,
                "annotations": str(notes) if first else "",
                "split": split_of(path.stem, known, path),
                **pixels(asked, sizes[folder.name]),
            }


def midog(asked: argparse.Namespace) -> Iterator[Row]:
    """List the regions of MIDOG++ of one tumor: each scanner has other cases."""
    if asked.mpp:
        raise Unusable("--mpp: Table I lacks the scanners of MIDOG; leave it out")
    known = sides(asked.folder, asked.split, "datasets_xvalidation.csv")
    notes = only(asked.folder, "MIDOGpp.json", "MIDOG++.json")
    for path in files(asked.folder.rglob("*.tiff")):
        row = known.get(path.stem.lstrip("0"), {})
        if row.get("Tumor") == asked.tumor:
            yield {
                "path": str(path),
                "domain": row["Scanner"],
                "subject": path.stem,
                "annotations": str(notes),
                "split": row["split"],
            }


def mv_mr(asked: argparse.Namespace) -> Iterator[Row]:
    """List the labelled volumes of one hospital for each vendor of the M&Ms challenge."""
    if asked.mpp or asked.split:
        raise Unusable("--mpp, --split: volumes say both themselves; leave them out")
    names = dict(zip(CENTRES, pixel_sizes("MV-MR"), strict=True))
    found = [(path, table(path, "External code")) for path in sorted(asked.folder.glob("*.csv"))]
    if len(found) != 1:
        raise Unusable(f"{asked.folder}: holds {len(found)} files *.csv; expected one")
    lines = table(found[0][0], "External code", "Vendor", "Centre", "ED", "ES")
    subjects = {line["External code"]: line for line in lines}
    for part, split in (("Training/Labeled", "train"), ("Testing", "test")):
        for mask in sorted((asked.folder / part).glob("*/*_sa_gt.nii.gz")):
            line = subjects.get(mask.parent.name)
            if line is None:
                raise Unusable(f"{mask}: {found[0][0]} has no row of it; add it")
            if CENTRES.get(line["Vendor"]) == line["Centre"]:
                yield {
                    "image": str(mask.with_name(mask.name.replace("_sa_gt", "_sa"))),
                    "mask": str(mask),
                    "domain": names[line["Vendor"]],
                    "subject": mask.parent.name,
                    "split": split,
                    "centre": line["Centre"],
                    "frames": f"ED={line['ED']};ES={line['ES']}",
                }


def pixels(asked: argparse.Namespace, size: float) -> Row:
    """Return the column mpp, where it is asked for."""
    return {"mpp": f"{size * asked.mpp:.4g}"} if asked.mpp else {}


SETS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "ms-cct": ms_cct,
    "ms-mf": ms_mf,
    "midog": midog,
    "mv-mr": mv_mr,
}


def check(manifest: Path) -> None:
    """Raise unless every row names its split, so that two readings cannot deal out differently."""
    for number, row in enumerate(table(manifest, "split"), 2):
        if row["split"] not in ("train", "test"):
            raise Unusable(
                f"{manifest}, line {number}: split is {row['split']!r}; fill in train or test in "
                "every row, a subject on one side, so that training and testing cannot mix"
            )


def coarsest(slides: Path) -> str:
    """Return the largest pixel size of a table of slides, to which all scanners can be brought."""
    with slides.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    found = [row[name] for row in rows for name in ("mpp", "mpp_y") if row.get(name)]
    try:
        return max(found, key=float)
    except ValueError:
        raise Unusable(
            f"{slides}: lists no slide whose pixel size is known; see what is said of them above"
        ) from None


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="manifests.py", description=__doc__.partition("\n")[0])
    parser.add_argument("set", choices=[*SETS, "check", "coarsest"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", type=Path, help="table of the split, Slide and Dataset")
    parser.add_argument("--mpp", type=float, help="pixel size of Table I times this")
    parser.add_argument("--tumor", default=TUMOR, help=f"midog: which tumor [{TUMOR}]")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> None:
    """Write one manifest to stdout; say on stderr how many rows each domain has."""
    asked = parsed(words)
    if asked.set == "check":
        return check(asked.folder)
    if asked.set == "coarsest":
        return print(coarsest(asked.folder))
    if not asked.folder.is_dir():
        raise Unusable(f"{asked.folder}: no such folder; unpack the data set there")
    asked.folder = asked.folder.resolve()
    rows = list(SETS[asked.set](asked))
    if not rows:
        raise Unusable(f"{asked.folder}: holds nothing of {asked.set}; see its layout with --help")
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    numbers = Counter((row["domain"], row["split"]) for row in rows)
    for (domain, split), number in sorted(numbers.items()):
        print(f"{domain}, {split}: {number}", file=sys.stderr)
    return None


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Unusable as error:
        sys.exit(f"manifests.py: {error}")
