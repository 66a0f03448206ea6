from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from skiptool.cli import create_app
from skiptool.cli.config import _literal, table_of
from skiptool.errors import FormatError
from skiptool.steps import synth

Run = Callable[..., Any]

SMALL = "n = 8\nsize = 64\ncanvas = 300\ncells = '1:4'\nfolds = 2\n"


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a config file."""

    def write(text: str, name: str = "run.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record the arguments of the step behind `synth` instead of running it."""
    from skiptool.records import Outcome

    calls: list[dict[str, Any]] = []

    def step(out: str, **arguments: object) -> Outcome:
        calls.append({"out": out, **arguments})
        return Outcome(text="called")

    monkeypatch.setattr(synth, "synthesise_dataset", step)
    return calls


# Reading


@pytest.mark.parametrize(
    "text",
    [
        SMALL,
        f"[synth]\n{SMALL}",
        f"n = 8\n[synth]\n{SMALL.removeprefix('n = 8')}[train]\nepochs = 3\n",
        SMALL.replace("8", "'8'"),
    ],
    ids=["plain", "table", "both", "number as text"],
)
def test_a_file_gives_the_values_of_a_command_line(
    text: str, run: Run, called: list[dict[str, Any]], config: Callable[..., Path]
) -> None:
    typed = ("--n", "8", "--size", "64", "--canvas", "300", "--cells", "1:4", "--folds", "2")
    assert run("synth", *typed).code == 0
    assert run("synth", "--config", config(text)).code == 0
    by_file, by_hand = [{**call, "progress": None} for call in reversed(called)]
    assert by_file == by_hand
    assert by_file["n"] == 8


def test_names_may_have_underscores_and_lists_repeat_an_option(
    run: Run, called: list[dict[str, Any]], config: Callable[..., Path]
) -> None:
    text = 'test_fraction = 0.5\nartifact-box = ["1,2,3,4", "5,6,7,8"]\nexport = ["png", "p"]\n'
    assert run("synth", "--config", config(text)).code == 0
    assert called[0]["test_fraction"] == 0.5
    assert called[0]["artifact_boxes"] == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert called[0]["export"] == Path("p")


def test_typed_options_win(
    run: Run, called: list[dict[str, Any]], config: Callable[..., Path]
) -> None:
    file = config(f'{SMALL}out = "a.zarr"\nseed = 3\nartifact-box = ["1,2,3,4", "5,6,7,8"]\n')
    typed = ("--artifact-box", "0,0,1,1", "-o", "b.zarr", "--n", "2")
    assert run("synth", *typed, "--config", file).code == 0
    (call,) = called
    assert (call["n"], call["out"], call["seed"]) == (2, "b.zarr", 3)
    assert call["artifact_boxes"] == ((0, 0, 1, 1),)


def test_typed_inputs_win(
    run: Run, experiment: SimpleNamespace, config: Callable[..., Path]
) -> None:
    file = config(f'stores = ["gone.zarr", "{experiment.dark}"]\npermutations = 9\n')
    assert "gone.zarr" in run("hellinger", "--config", file).line()
    found = run("hellinger", "--config", file, experiment.plain, experiment.dark)
    assert found.code == 0


def test_flags_are_switched_on_and_off(
    run: Run, experiment: SimpleNamespace, config: Callable[..., Path]
) -> None:
    stores = f'stores = ["{experiment.plain}", "{experiment.dark}"]\npermutations = 0\n'
    shown = {}
    for flags in ("", "per-channel = true", "per-channel = false", "no-per-channel = false"):
        found = run("hellinger", "--config", config(f"{stores}{flags}"), "--quiet")
        assert found.code == 0, found.err
        shown[flags] = len(found.lines)
    assert shown[""] == shown["per-channel = false"]
    assert shown["per-channel = true"] == shown["no-per-channel = false"] > shown[""]
    typed = run("hellinger", "--config", config(f"{stores}per-channel = true"), "--no-per-channel")
    assert len(typed.lines) == shown[""]


def test_a_file_on_stdin(run: Run, called: list[dict[str, Any]]) -> None:
    assert run("synth", "--config", "-", stdin=SMALL).code == 0
    assert called[0]["n"] == 8


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("foldz = 2", "run.toml: unknown key 'foldz' of skiptool synth; did you mean folds"),
        ("[synth]\nsize_ = 2", "unknown key 'size_' in [synth] of skiptool synth; did you mean s"),
        ("config = 'x'", "unknown key 'config'"),
        ("[synht]\nn = 2", "unknown table [synht]; did you mean synth"),
        (
            "[extract]\nseed = 2",
            "'seed' in [extract]: expected it in a table of a command",
        ),
        ("[extract.imgs]\nseed = 2", "unknown table [extract.imgs]; did you mean images"),
        ("[train]\nseed = 2", "has no table [synth]"),
        ("n = 2\nn = 3", "line 2: n is given twice"),
        ("n = 2\n[synth]\nn = 3", "'n' in [synth] is given after 'n'; keep one of them"),
        ("test-fraction = 0\ntest_fraction = 0", "'test_fraction' is given after 'test-fraction'"),
        ("n = 2.5", "run.toml: 'n': "),
        ("n = 'two'", "run.toml: 'n': "),
        ("seed = -1", "run.toml: 'seed': "),
        ("n = true", "'n': expected a value, not true or false"),
        ("n = [1, 2]", "'n': takes one value, not a list"),
        ("n = 2026-12-01", "'n': expected text in quotes or a number"),
        ("resume = 'yes'", "'resume': expected true or false, without quotes"),
        ("export = 'png'", "'export': expected a list of 2 values"),
        ("n =", "run.toml: is not valid TOML"),
        (f"n = 1{'0' * 5000}", "run.toml: is not valid TOML"),
        ("", "holds no keys"),
    ],
)
def test_mistakes_are_named_in_one_line(
    text: str, fragment: str, run: Run, called: list[dict[str, Any]], config: Callable[..., Path]
) -> None:
    found = run("synth", "--config", config(text))
    assert found.code == 2
    assert fragment in found.line()
    assert not called


def test_files_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"out = '\xe9'\n")
    for name, fragment in {
        "gone.toml": "No such file",
        ".": "Is a directory",
        "latin.toml": "is no text in UTF-8",
    }.items():
        found = run("synth", "--config", tmp_path / name)
        assert (found.code, fragment in found.line()) == (2, True), found


def test_errors_in_typed_values_do_not_blame_the_file(
    run: Run, config: Callable[..., Path]
) -> None:
    found = run("synth", "--config", config(SMALL), "--n", "many")
    assert (found.code, "run.toml" in found.line()) == (2, False)


def test_help_is_shown_whatever_the_file_holds(run: Run, config: Callable[..., Path]) -> None:
    found = run("synth", "--config", config("n ="), "--help")
    assert (found.code, "--canvas" in found.out) == (0, True)


def test_a_config_file_is_not_overwritten(
    run: Run, experiment: SimpleNamespace, config: Callable[..., Path]
) -> None:
    file = config(f'tables = "{experiment.shift}"\noverwrite = true\n', "run.html.toml")
    link = file.with_name("run.html")
    link.symlink_to(file)
    found = run("report", "--config", file, "-o", link)
    assert (found.code, file.read_text()[:6]) == (2, "tables")


def test_yaml(
    run: Run,
    called: list[dict[str, Any]],
    config: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yaml", None)
        found = run("synth", "--config", config("n: 8", "a.yaml"))
        assert (found.code, "YAML is read with PyYAML" in found.line()) == (2, True)
    pytest.importorskip("yaml")
    text = "synth:\n  n: 8\n  artifact-box: ['1,2,3,4']\ntrain: {lr: 1e-3}\n"
    assert run("synth", "--config", config(text, "a.yaml")).code == 0
    assert (called[0]["n"], called[0]["artifact_boxes"]) == (8, ((1, 2, 3, 4),))
    for wrong, fragment in {
        "n: 8\nn: 9\n": "key 'n' is given twice",
        "n: [": "is not valid YAML",
        "n:": "'n': expected text",
        "- n": "expected keys and values",
    }.items():
        found = run("synth", "--config", config(wrong, "b.yml"))
        assert (found.code, fragment in found.line()) == (2, True), found


@pytest.mark.parametrize(
    ("command", "missing"),
    [("train", "data.zarr"), ("predict", "data.zarr"), ("extract images", "photos")],
)
def test_the_example_of_the_guide(
    command: str,
    missing: str,
    run: Run,
    config: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its keys and values are right, so that the command goes on to look for its input."""
    guide = Path(__file__).resolve().parents[2] / "examples" / "guide" / "config.md"
    file = config(guide.read_text().partition("```toml\n")[2].partition("```")[0])
    monkeypatch.chdir(file.parent)
    found = run(*command.split(), "--config", file, "--quiet")
    assert (found.code, missing in found.line()) == (1, True), found


# Writing


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.integers().map(str))
def test_every_text_is_read_back(text: str) -> None:
    literal = _literal(text)
    assert str(tomllib.loads(f"key = {literal}")["key"]) == text
    assert literal.isprintable()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_read_back(number: float) -> None:
    assert tomllib.loads(f"key = {_literal(str(number))}")["key"] in (number, str(number))


def remake(run: Run, tmp_path: Path, artifact: Path, *typed: object) -> dict[str, Any]:
    """Make an artifact again from its own config and return the table of that config."""
    text = run("info", "--config", artifact).out
    (tmp_path / "made.toml").write_text(text)
    ((name, table),) = tomllib.loads(text).items()
    found = run(name, "--config", tmp_path / "made.toml", *typed)
    assert found.code == 0, found.err
    return dict(table)


def origin(run: Run, artifact: Path) -> list[Any]:
    (entry,) = run("info", "--json", artifact).json["summary"].values()
    return [entry["lineage"][key] for key in ("kind", "id", "parameters", "inputs")]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["data", "baseline", "pruned", "plain", "dark", "shift"])
def test_an_artifact_is_made_again(
    kind: str, run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    first = vars(experiment)[kind]
    again = tmp_path / first.name
    out = tmp_path / "runs" if kind in ("baseline", "pruned") else again
    table = remake(run, tmp_path, first, "-o", out)
    if kind == "pruned":
        assert (table["data"], table["lr"]) == (str(experiment.data), 1e-4)
        assert table["skips"] == ["2,3,4"]
        again = out / "resnet18-L1" / "fold0"
    elif kind == "baseline":
        again = out / "resnet18-L0" / "fold0"
    assert origin(run, again) == origin(run, first)


@pytest.mark.long
def test_predictions_and_their_report_are_made_again(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    first, again = experiment.predictions, tmp_path / "again.parquet"
    table = remake(run, tmp_path, first, "-o", again, "--masks", tmp_path / "m.zarr")
    assert table["models"] == [str(experiment.baseline), str(experiment.pruned)]
    assert origin(run, again) == origin(run, first)
    masks = origin(run, tmp_path / "m.zarr")
    assert masks == origin(run, experiment.masks)
    page = tmp_path / "a.html"
    words = ("--title", 'A "title" – \u00e9', "--level", "0.9", "--seed", "4", "-o", page)
    assert run("report", again, experiment.shift, *words).code == 0
    remake(run, tmp_path, tmp_path / "a-numbers.parquet", "-o", tmp_path / "b.html")
    pages = [origin(run, tmp_path / f"{name}-numbers.parquet") for name in "ab"]
    assert pages[0] == pages[1]
    assert pages[0][2]["title"] == 'A "title" – \u00e9'


@pytest.mark.long
def test_class_weights_are_repeated(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    short = ("--encoder-weights", "none", "--epochs", "1", "--fold", "0", "--precision", "32")
    runs = [tmp_path / name for name in ("a", "b")]
    weights = ("--class-weight", "cell=2.5")
    assert run("train", experiment.data, *short, *weights, "-o", runs[0]).code == 0
    first, again = (folder / "resnet18-L0" / "fold0" for folder in runs)
    assert remake(run, tmp_path, first, "-o", runs[1])["class-weight"] == ["cell=2.5"]
    assert origin(run, again) == origin(run, first)
    assert origin(run, first)[2]["class_weights"] == {"cell": 2.5}


@pytest.mark.long
def test_extracted_images_are_made_again(run: Run, pictures: Path, tmp_path: Path) -> None:
    folders = ("--images", pictures / "images", "--masks", pictures / "masks")
    labels = ("--labels", "0=background", "--labels", "1=a cell", "--folds", "2", "--no-pictures")
    first, again = tmp_path / "a.zarr", tmp_path / "b.zarr"
    assert run("extract", "images", *folders, *labels, "-o", first).code == 0
    text = run("info", "--config", first).out
    table = tomllib.loads(text)["extract"]["images"]
    assert table["pictures"] is False
    (tmp_path / "made.toml").write_text(text)
    assert run("extract", "images", "--config", tmp_path / "made.toml", "-o", again).code == 0
    assert origin(run, again) == origin(run, first)


def test_a_manifest_from_stdin_is_a_comment(run: Run, pictures: Path, tmp_path: Path) -> None:
    text = (pictures / "manifest.csv").read_text().replace("images/", f"{pictures}/images/")
    text = text.replace("masks/", f"{pictures}/masks/")
    words = ("-o", tmp_path / "d.zarr", "--folds", "2", "--no-pictures")
    assert run("extract", "images", "-", *words, stdin=text).code == 0
    shown = run("info", "--config", tmp_path / "d.zarr").out
    assert '# manifest = "-"  # was read from stdin' in shown
    assert "manifest" not in tomllib.loads(shown)["extract"]["images"]


def test_one_file_for_several_commands(
    run: Run, experiment: SimpleNamespace, tmp_path: Path
) -> None:
    """Artifacts of several commands fill one file, from which each command reads its table."""
    paths = (experiment.data, experiment.pruned, experiment.shift)
    text = run("info", "--config", *paths).out
    assert list(tomllib.loads(text)) == ["synth", "train", "hellinger"]
    (tmp_path / "all.toml").write_text(text)
    assert run("hellinger", "--config", tmp_path / "all.toml", "-o", tmp_path / "s").code == 0
    twice = run("info", "--config", experiment.baseline, experiment.pruned)
    assert (twice.code, "one table for each command" in twice.line()) == (2, True)


def test_artifacts_without_a_command(run: Run, experiment: SimpleNamespace, tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "a.npy", np.zeros((5, 2)))
    found = run("info", "--config", tmp_path / "a.npy")
    assert (found.code, "was not made by skiptool" in found.line()) == (1, True)
    both = run("info", "--config", "--check", experiment.data)
    assert (both.code, "cannot be combined" in both.line()) == (2, True)
    (tmp_path / "study.json").write_text('{"data": "x"}')
    old = run("info", "--config", tmp_path)
    assert (old.code, "does not record the command" in old.line()) == (1, True)


def test_config_and_command_say_the_same(run: Run, experiment: SimpleNamespace) -> None:
    words = shlex.split(run("info", "--command", experiment.predictions).out)
    table = tomllib.loads(run("info", "--config", experiment.predictions).out)["predict"]
    options = {word[2:] for word in words if word.startswith("--")}
    assert options == {*table} - {"models"}


def test_what_cannot_be_repeated_is_a_comment() -> None:
    root = typer.main.get_command(create_app())
    name, lines = table_of("skiptool hellinger https://host/a.zarr b --out c", root, "t")
    assert (name, lines[0], lines[2]) == ("hellinger", "[hellinger]", 'out = "c"')
    assert lines[1].startswith('stores = ["https://host/a.zarr", "b"]  # credentials')
    _, lines = table_of("skiptool synth --out \udcff", root, "t")
    assert lines[1].startswith("# out = ")
    tomllib.loads("\n".join(lines))
    for command in ("skiptool synth --colour red", "skiptool distil a.zarr", "skiptool extract"):
        with pytest.raises(FormatError, match=r"t: was made by"):
            table_of(command, root, "t")
