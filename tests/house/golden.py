"""Golden outputs: run every command on small inputs and record what it wrote, to the byte.

A change that moves code must change nothing that a user sees. Equal seeds give equal bytes here, so
this is a comparison of hashes::

    python tests/house/golden.py make before --data ../shared/data
    (change the code)
    python tests/house/golden.py make after --data ../shared/data
    python tests/house/golden.py compare before after

``make`` writes ``FOLDER/golden.json`` and keeps the files themselves next to it, for a look at what
differs. Run it by hand, with the same environment, on the same machine: pytest does not collect it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from volume_cases import challenge  # noqa: E402 - found on the path set above

SETTINGS = {
    "SOURCE_DATE_EPOCH": "0",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "100",
    "NO_COLOR": "1",
    "PYTHONHASHSEED": "0",
}
"""Environment of every command, so that neither time, terminal nor threads show in a file."""

TIMED = ("seconds",)
"""Columns of tables that measure time."""

UNEQUAL = ("last.ckpt", "training.html", "training-numbers.parquet", "study/report*")
"""Files that hold measured times within: they must exist, and their bytes are not compared."""

CPU = ("--device", "cpu", "--threads", "1")
ENCODER = "tu-mobilenetv3_small_050"
TRAIN = (
    *("--encoder", ENCODER, "--encoder-weights", "none", "--epochs", "2", "--batch-size", "8"),
    *("--precision", "32", *CPU),
)
METRICS = (
    "hellinger",
    "jensen-shannon",
    "wasserstein",
    "kolmogorov-smirnov",
    "covariance",
    "classifier",
    "paired-difference",
)
SHIFTS = ("brightness-0.5", "contrast-0.5", "saturation-0")


def words_of(text: str) -> list[str]:
    """Split a command line that quotes nothing."""
    return text.split()


def store(model: str, shift: str) -> str:
    """Return the name of a feature store of the small smear experiment."""
    return f"features/{ENCODER}-{model}_synthetic_{shift}.zarr"


def smear() -> dict[str, list[str]]:
    """Return the commands of the paper's synthetic experiment, small but whole."""
    shifts = words_of("--shift brightness=0.5 --shift contrast=0.5 --shift saturation=0")
    metrics = [word for metric in METRICS for word in ("--metric", metric)]
    shifted = [store("L0-fold0", shift) for shift in SHIFTS]
    clean = store("L0-fold0", "original")
    kept = f"{ENCODER}-L0-fold0_synthetic"
    steps = {
        "synth": words_of(
            "synth --n 24 --size 64 --canvas 240 --cells 1:6 --folds 2 -o s.zarr --export png pairs"
            " --save-templates templates"
        ),
        "train": [
            *words_of("train s.zarr --prune 0 --prune 1 --fold 0 --repeats 2 -o runs"),
            *TRAIN,
        ],
        "train others": [
            *words_of("train s.zarr --arch unetplusplus --prune 1 --fold 0 -o others"),
            *TRAIN,
        ],
        "predict": [
            *words_of("predict runs --data s.zarr --sweep paper -o p.parquet --masks k.zarr"),
            *words_of("--overlays overlays --overlay-count 2 --precision 32 --ensemble"),
            *CPU,
        ],
        "predict validation": [
            *words_of("predict runs --data s.zarr --sweep paper --split fold -o v.parquet"),
            *("--precision", "32", *CPU),
        ],
        "predict clean": [
            *words_of("predict runs --data s.zarr --clean-skips each -o clean.parquet"),
            *("--precision", "32", *shifts, *CPU),
        ],
        "predict shifted": [
            *words_of("predict runs --data s.zarr --shifted-skips each -o dirty.parquet"),
            *("--precision", "32", *shifts, *CPU),
        ],
        "features": [
            *words_of("features runs others --data s.zarr --transmission --shift original"),
            *(*shifts, "-o", "features", *CPU),
        ],
        "features validation": [
            *words_of("features runs --data s.zarr --split fold --sweep paper -o validation"),
            *CPU,
        ],
        "features counts": [
            *words_of("features runs/*L0/fold0 --data s.zarr --counts --shift original"),
            *(*shifts, "-o", "counts", *CPU),
        ],
        "hellinger": ["hellinger", clean, *shifted, *metrics, "-o", "shift.parquet"],
        "hellinger L1": [
            *("hellinger", store("L1-fold0", "original")),
            *(*(store("L1-fold0", shift) for shift in SHIFTS), "-o", "shift-L1.parquet"),
        ],
        "hellinger rules": [
            *("hellinger", clean, shifted[0], "--range", "p0.1", "--sweep-bins", "10,50"),
            *("-o", "rules.parquet", "--permutations", "99", "--per-channel"),
        ],
        "hellinger pairs": ["hellinger", clean, *shifted, "--all-pairs", "-o", "pairs.parquet"],
        "hellinger counts": words_of("hellinger counts/*original* counts/*contrast*"),
        "hellinger json": ["hellinger", clean, shifted[0], "--json"],
        "report": [
            *words_of("report p.parquet clean.parquet dirty.parquet shift.parquet"),
            *words_of("shift-L1.parquet s.zarr k.zarr"),
            *words_of("-o report.html --figures figures --format png,pdf,svg --title Golden"),
        ],
        "report training": words_of(
            "report runs/*/fold0/history.parquet -o training.html --figures curves"
        ),
        "hellinger validation": [
            *("hellinger", *(f"validation/{kept}_{shift}.zarr" for shift in ("original", "*-*"))),
            *("-o", "shift-validation.parquet"),
        ],
        "report forecast": words_of(
            "report v.parquet shift-validation.parquet --forecast -o forecast.html --figures lines"
        ),
        "info": words_of("info s.zarr runs p.parquet shift.parquet k.zarr overlays counts --json"),
    }
    return steps


def hearts() -> dict[str, list[str]]:
    """Return the commands of the MR extraction, with a study on it."""
    study = "study m.zarr --train-domain A --split all --encoder-weights none --epochs 1 --prune 1"
    return {
        "extract mri": words_of("extract mri hearts -o m.zarr --folds 2 --size 64"),
        "study": [
            *words_of(
                f"{study} --fold 0 --permutations 19 --precision 32 -o study --encoder {ENCODER}"
            ),
            *CPU,
        ],
    }


def pictures() -> dict[str, list[str]]:
    """Return the commands of the extraction of plain pictures."""
    listed = "pictures/listed.csv --labels 1=cell,2=debris --patch-size 24 --folds 2"
    return {
        "extract images dry": words_of(f"extract images {listed} -o i.zarr --dry-run"),
        "extract images": words_of(f"extract images {listed} -o i.zarr --export png i-pairs"),
    }


def slides() -> dict[str, list[str]]:
    """Return the commands of the extraction of real slides of four scanners."""
    grid = "extract wsi demo/areas.csv --mode grid --patch-size 128 --split test --folds 2"
    points = "extract wsi demo/points.csv --mode centred --patch-size 64 --folds 2 --mask stain"
    return {
        "extract wsi grid": words_of(
            f"{grid} --min-tissue 0.02 --register Aperio -o grid.zarr --export png g-pairs"
        ),
        "extract wsi points": words_of(f"{points} --domain Aperio -o points.zarr"),
        "extract wsi sampled": words_of(
            "extract wsi demo/areas.csv --mode sampled --draws 2 --patches 6 --patch-size 96"
            " --domain Aperio -o sampled.zarr"
        ),
        "report wsi": words_of("report grid.zarr grid-qc/registration.parquet -o slides.html"),
    }


HELP = (
    *("", "synth", "extract", "extract images", "extract mri", "extract wsi", "train", "predict"),
    *("features", "hellinger", "report", "info", "study"),
)


def draw_pictures(folder: Path) -> None:
    """Write a few pictures of two domains, their label maps, and a manifest."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["image,mask,domain,subject"]
    for domain, dark in (("A", 1.0), ("B", 0.7)):
        for number in range(6):
            mask = np.zeros((48, 48), dtype=np.uint8)
            top, left = rng.integers(4, 24, 2)
            mask[top : top + 16, left : left + 12] = 1 + number % 2
            noise = rng.integers(0, 60, (48, 48, 3))
            image = ((noise + 60 + 60 * mask[..., None]) * dark).astype(np.uint8)
            name = f"{domain}{number}"
            Image.fromarray(image).save(folder / f"{name}.png")
            Image.fromarray(mask).save(folder / f"{name}-mask.png")
            lines.append(f"{name}.png,{name}-mask.png,{domain},{name}")
    (folder / "listed.csv").write_text("\n".join(lines) + "\n")


def run(words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run skiptool and return how it ended, without what depends on time and place."""
    opened = [
        found
        for word in words
        for found in (
            sorted(str(each.relative_to(folder)) for each in folder.glob(word))
            if "*" in word
            else [word]
        )
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "skiptool", *opened],
        cwd=folder,
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        check=False,
    )
    told = ended.stderr.replace(str(folder), "FOLDER")
    told = re.sub(r"\d+:\d\d:\d\d|\d+(\.\d+)? s\b|[\d.]+ ?it/s", "TIME", told)
    out = re.sub(r'"seconds": [\d.]+', '"seconds": TIME', ended.stdout)
    lines = [line for line in told.splitlines() if not line.endswith("about TIME left")]
    return {"code": ended.returncode, "out": out, "err": lines}


def loaded(words: Sequence[str]) -> list[str]:
    """Return which libraries a command line imports in a fresh interpreter."""
    probe = (
        "import sys\nfrom skiptool.cli import main\ntry:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", probe, *words],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        check=False,
    )
    return sorted(set(found.stdout.splitlines()[-1].split()) - sys.stdlib_module_names)


def digest(path: Path) -> str:
    """Hash a file; of a table that holds measured times, all else that it holds."""
    if any(path.match(pattern) for pattern in UNEQUAL):
        return "holds times"
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        if timed := [name for name in TIMED if name in table.column_names]:
            rest = table.drop_columns(timed)
            header = json.dumps(_text(rest.schema.metadata or {}), sort_keys=True)
            return hashlib.sha256((header + str(rest.to_pydict())).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in metadata.items()}


def make(folder: Path, data: Path | None) -> None:
    """Run all commands in ``folder/work`` and write ``folder/golden.json``."""
    work = folder.resolve() / "work"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    draw_pictures(work / "pictures")
    parts = {
        code: (part, vendor, centre)
        for vendor, part, centre in (("A", "Training/Labeled", "1"), ("B", "Testing", "2"))
        for code in (f"{vendor}{number}" for number in range(4))
    }
    challenge(work / "hearts", parts)
    steps = smear() | hearts() | pictures()
    if data is not None:
        demo = [
            sys.executable,
            ROOT / "examples/paper/multiscanner_demo.py",
            data.resolve() / "multiscanner",
        ]
        subprocess.run([*demo, "demo"], cwd=work, check=True, capture_output=True)
        steps |= slides()
    ended = {}
    for name, words in steps.items():
        ended[name] = run(words, work)
        print(f"{name}: {ended[name]['code']}", file=sys.stderr, flush=True)
    files = {
        str(path.relative_to(work)): digest(path)
        for path in sorted(work.rglob("*"))
        if path.is_file()
    }
    texts = {name: run([*name.split(), "--help"], work)["out"] for name in HELP}
    probes = [["--help"], ["hellinger", "a.zarr", "b.zarr"], ["report", "a.parquet"]]
    imports = {" ".join(words): loaded(words) for words in probes}
    found = {"steps": ended, "files": files, "help": texts, "imports": imports}
    (folder / "golden.json").write_text(json.dumps(found, indent=1))
    print(f"{len(files)} files of {len(steps)} commands: {folder / 'golden.json'}")


def compare(before: Path, after: Path) -> int:
    """Print what differs; 1 where anything does."""
    old, new = (json.loads((each / "golden.json").read_text()) for each in (before, after))
    differing = 0
    for part in old:
        for name in sorted({*old[part], *new[part]}):
            if old[part].get(name) != new[part].get(name):
                differing += 1
                how = (
                    "gone"
                    if name not in new[part]
                    else "new"
                    if name not in old[part]
                    else "differs"
                )
                print(f"{part}: {name}: {how}")
    print(f"{differing} differences in {sum(map(len, old.values()))} records")
    return int(differing > 0)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="what", required=True)
    maker = parts.add_parser("make")
    maker.add_argument("folder", type=Path)
    maker.add_argument("--data", type=Path, help="folder of real inputs, for the slides")
    comparer = parts.add_parser("compare")
    comparer.add_argument("before", type=Path)
    comparer.add_argument("after", type=Path)
    asked = parser.parse_args()
    if asked.what == "make":
        make(asked.folder, asked.data)
        return 0
    return compare(asked.before, asked.after)


if __name__ == "__main__":
    sys.exit(main())
