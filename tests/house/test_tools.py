"""The project's tools run as tests, so that one command checks everything."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from skiptool.cli import ORDER
from skiptool.distances.binned import DISTANCES
from skiptool.errors import SkiptoolError
from skiptool.model.loss import SegmentationLoss
from skiptool.names import LAYERS, LAYERWISE, Kind, Loss, Metric, RangeRule, ShiftKind
from skiptool.records import Shift
from skiptool.shifts import apply_shift
from skiptool.steps.hellinger import compare_features
from skiptool.stores.lineage import FORMAT_VERSIONS

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

COMMANDS = {
    "lint": ["ruff", "check"],
    "format": ["ruff", "format", "--check"],
    "types": ["mypy"],
    "floors": ["lint-imports", "--no-cache"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_tool_is_content(command: list[str]) -> None:
    found = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


# -------------------------------------------------------------------------------------------------
# What names promise, and what may not be named.


SOURCE = ROOT / "src" / "skiptool"
FILES = sorted(SOURCE.rglob("*.py"))

BANNED = {"utils", "helpers", "common", "misc", "base", "manager", "processor"}


def name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_file_is_well_named(path: Path) -> None:
    assert path.stem not in BANNED


def test_nothing_names_this_machine() -> None:
    words = ("/wo" + "rk/", "/fa" + "rm/", "pypi" + ".org", "pythonhos" + "ted")
    for pattern in ("src/**/*", "tests/**/*", "examples/**/*", "completions/*", "*.toml", "*.md"):
        for path in ROOT.glob(pattern):
            if path.is_file() and path.suffix != ".png" and "__pycache__" not in path.parts:
                text = path.read_text(encoding="utf-8")
                assert not [word for word in words if word in text], path


def test_one_version_is_cited_packaged_and_described() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    newest = re.search(r"^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert cited is not None
    assert newest is not None
    assert {cited[1], newest[1]} == {project}


def test_face_lists_what_it_loads() -> None:
    import skiptool

    for public in skiptool.__all__:
        assert callable(getattr(skiptool, public))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = skiptool.nonsense


# -------------------------------------------------------------------------------------------------
# What a command line imports before it knows that it has work to do.


HEAVY = (
    "torch",
    "lightning",
    "numba",
    "cv2",
    "tifffile",
    "imagecodecs",
    "openslide",
    "nibabel",
    "PIL",
    "matplotlib",
    "jinja2",
    "scipy",
    "pyarrow",
    "zarr",
    "numpy",
    "pydantic",
)

PROBE = """
import sys
from skiptool.cli import main
code = main(sys.argv[1:])
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules} & set(%r)))
sys.exit(code)
"""


def loaded(*words: str) -> set[str]:
    """Run skiptool in a fresh interpreter and return which heavy libraries it imported."""
    found = subprocess.run(
        [sys.executable, "-c", PROBE % (HEAVY,), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    last = found.stdout.strip().splitlines()[-1]
    assert last.startswith("loaded:"), found.stdout + found.stderr
    return set(last.split()[1:])


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["synth", "--help"],
        ["extract", "--help"],
        ["extract", "images", "--help"],
        ["extract", "mri", "--help"],
        ["train", "--help"],
        ["predict", "--help"],
        ["features", "--help"],
        ["hellinger", "--help"],
        ["report", "--help"],
        ["info", "--help"],
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    assert loaded(*words) == set()


@pytest.mark.parametrize("name", ORDER)
def test_help_imports_no_other_subcommand(name: str) -> None:
    probe = (
        "import sys; from skiptool.cli import main; code = main(sys.argv[1:]);"
        "print('loaded:', *(name for name in sys.modules if name.startswith('skiptool.cli.')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", probe, name, "--help"], capture_output=True, text=True, check=True
    )
    modules = found.stdout.splitlines()[-1].split()[1:]
    shared = {"config", "console", "options", "output", "paths"}
    assert {module.rpartition(".")[2] for module in modules} - shared == {name}


def test_hellinger_needs_no_torch() -> None:
    found = loaded("hellinger", "no-such-a.zarr", "no-such-b.zarr")
    assert "zarr" in found
    assert not found & {"torch", "lightning", "matplotlib"}


def test_comparing_numpy_files_needs_only_numeric_libraries(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.npy" for name in "ab"]
    for seed, path in enumerate(paths):
        np.save(path, np.random.default_rng(seed).normal(size=(9, 2, 3)))
    found = loaded("hellinger", *map(str, paths)) - {"pydantic"}  # recent versions of typer load it
    assert found == {"numpy", "numba", "scipy"}


PICTURES = {"cv2", "tifffile", "imagecodecs", "openslide", "nibabel"}
COMPUTING = {"torch", "lightning", "numba"}
SEEN_OR_DRAWN = {*PICTURES, "PIL", "matplotlib"}


@pytest.mark.parametrize(
    ("step", "unneeded"),
    [
        ("info", {*COMPUTING, *SEEN_OR_DRAWN, "scipy"}),
        ("study", {*COMPUTING, *SEEN_OR_DRAWN, "scipy"}),
        ("report", {*COMPUTING, *PICTURES}),
        ("hellinger", {"torch", "lightning", *SEEN_OR_DRAWN, "pyarrow", "zarr"}),
        ("extract_images", {*COMPUTING, "cv2", "openslide", "nibabel"}),
        ("extract_mri.extract_mri", {*COMPUTING, "cv2", "openslide"}),
        ("extract_wsi.extract_wsi", {*COMPUTING, "nibabel"}),
        ("synth", {*COMPUTING, "cv2", "matplotlib", "openslide", "nibabel"}),
        pytest.param("train", {"numba", *PICTURES}, marks=pytest.mark.slow),
        pytest.param("predict.predict", {"numba", *PICTURES}, marks=pytest.mark.slow),
        pytest.param("features.features", PICTURES, marks=pytest.mark.slow),
    ],
)
def test_step_imports_only_what_it_needs(step: str, unneeded: set[str]) -> None:
    probe = f"import sys, skiptool.steps.{step}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120
    )
    imported = set(found.stdout.split())
    assert "numpy" in imported
    assert not imported & unneeded


OPTIONAL = ("torch", "lightning", "timm", "cv2", "openslide", "nibabel", "threadpoolctl")

WITHOUT = f"""
import sys
sys.modules.update(dict.fromkeys({OPTIONAL}))
from skiptool.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_extras(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command as if only the required libraries were installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.long
def test_the_base_install_makes_images_compares_features_and_reports(
    experiment: SimpleNamespace, tmp_path: Path
) -> None:
    data, table, pictures = tmp_path / "s.zarr", tmp_path / "shift.parquet", tmp_path / "png"
    size = ("--size", 32, "--canvas", 200, "--cells", "1:3")
    for words in (
        ("synth", "--n", 4, "--folds", 2, *size, "--export", "png", pictures, "-o", data),
        (
            *("extract", "images", "--images", pictures / "images", "--masks", pictures / "masks"),
            *("--folds", 2, "-o", tmp_path / "images.zarr"),
        ),
        ("hellinger", experiment.plain, experiment.dark, "--permutations", 9, "-o", table),
        ("report", table, experiment.predictions, "-o", tmp_path / "report.html"),
        ("info", experiment.baseline, data, table),
    ):
        ended = without_extras(*words)
        assert ended.returncode == 0, ended.stderr
    assert "<svg" in (tmp_path / "report.html").read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "library", "extra"),
    [
        (("train", "DATA"), "torch", "train"),
        (("predict", "MODEL", "--data", "DATA"), "torch", "train"),
        (("features", "MODEL", "--data", "DATA"), "torch", "train"),
        (("extract", "wsi", "DATA", "--mpp", "1"), "openslide", "wsi"),
        (("extract", "mri", "DATA"), "nibabel", "mri"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    experiment: SimpleNamespace,
    tmp_path: Path,
    words: tuple[str, ...],
    library: str,
    extra: str,
) -> None:
    paths = {"DATA": str(experiment.data), "MODEL": str(experiment.baseline)}
    out = tmp_path / "out"
    ended = without_extras(*(paths.get(word, word) for word in words), "-o", out)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert "is not installed; pip install 'skiptool[" in ended.stderr, ended.stderr
    assert ended.stderr.endswith(f"[{extra}]'\n"), ended.stderr
    assert library in ended.stderr
    assert not out.exists()


def test_a_missing_extra_is_named_in_python() -> None:
    probe = "import sys; sys.modules['torch'] = None; import skiptool; skiptool.train_models"
    ended = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    last = ended.stderr.splitlines()[-1]
    assert last == (
        "ModuleNotFoundError: skiptool.train_models needs torch, which is not installed; "
        "pip install 'skiptool[train]'"
    )


def test_package_face_is_lazy() -> None:
    probe = (
        "import sys, skiptool; assert 'measure_shift' in dir(skiptool); "
        f"print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ""


# -------------------------------------------------------------------------------------------------
# Every word that may be typed has something behind it.


@pytest.mark.parametrize("kind", ShiftKind)
def test_every_shift_is_applied(kind: ShiftKind) -> None:
    image = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    factor = None if kind is ShiftKind.ORIGINAL else 0.5
    changed = apply_shift(image, Shift(kind, factor))
    assert (changed == image).all() == (kind is ShiftKind.ORIGINAL)


@pytest.mark.parametrize("metric", Metric)
def test_every_metric_is_a_distance(metric: Metric) -> None:
    x, y = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    how = {"metrics": metric, "permutations": 0, "paired": metric is Metric.PAIRED_DIFFERENCE}
    if metric is Metric.COVARIANCE:
        y = 2 * x  # the same spread elsewhere is none of covariances
    own, other = (compare_features(x, each, **how)["value"][0].as_py() for each in (x, y))
    nothing = 0.5 if metric is Metric.CLASSIFIER else 0.0  # accuracy: 0.5 is chance, less as well
    assert own <= nothing < other


def test_metrics_without_bins_are_those_that_need_none() -> None:
    unbinned = {Metric.WASSERSTEIN_EXACT, Metric.REPRESENTATION_SHIFT, *LAYERWISE}
    assert set(Metric) - set(DISTANCES) == unbinned
    p, q = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    for distance in DISTANCES.values():
        assert distance.function(p, p)[0] == 0 < distance.function(p, q)[0]


@pytest.mark.parametrize("rule", RangeRule)
def test_every_range_rule_divides(rule: RangeRule) -> None:
    x, y = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [2.0], [3.0]])
    table = compare_features(x, y, range_rule=rule, bins=4, permutations=0)
    assert table["range_rule"][0].as_py() == rule.value
    assert table["value"][0].as_py() > 0


@pytest.mark.parametrize("loss", Loss)
def test_every_loss_is_positive_where_wrong(loss: Loss) -> None:
    logits = torch.tensor([5.0, -5.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4)
    wrong = torch.ones(1, 4, 4, dtype=torch.int64)
    measured = SegmentationLoss(loss, 2)
    assert measured(logits, wrong) > measured(logits, 0 * wrong) >= 0


def test_every_kind_has_a_format_version() -> None:
    assert set(FORMAT_VERSIONS) == set(Kind)


def test_layers_stand_in_the_order_of_data_flow() -> None:
    down = [f"enc{level}" for level in range(1, 6)]
    up = [f"dec{level}" for level in range(4, -1, -1)]
    assert list(LAYERS) == ["input", *down, *up, "head"]


def test_unknown_names_are_errors_of_ours() -> None:
    with pytest.raises(SkiptoolError, match="did you mean brightness"):
        Shift.parse("brightnes=1")
