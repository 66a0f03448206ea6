from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from heard import Heard
from remote_hosts import serving
from skiptool.cli import main
from skiptool.errors import ArgumentError, ExistsError, MismatchError, SkiptoolError
from skiptool.names import Split
from skiptool.records import Sample
from skiptool.steps import study
from skiptool.steps.study import MEASURED, Options, run_study
from small_artifacts import write_small_model
from small_stores import sample, write_dataset

TRAIN = {
    "prune": ["0"],
    "fold": ["0"],
    "epochs": "1",
    "batch-size": "4",
    "encoder-weights": "none",
    "precision": "32",
}


def pictures(domain: str, count: int, split: Split, **new: Any) -> list[Sample]:  # noqa: ANN401
    """Images of bright squares; the same ids and subjects in every domain."""
    found = []
    for index in range(count):
        rng = np.random.default_rng([index, split == Split.TEST])
        mask = np.zeros((32, 32), np.uint8)
        top, left = rng.integers(2, 16, 2)
        mask[top : top + 12, left : left + 12] = 1
        mask[0, 0] = 2
        light = 150 if domain == "a" else 90
        image = np.repeat((30 + light * (mask == 1))[..., None], 3, axis=2).astype(np.uint8)
        fold = -1 if split == Split.TEST else index % 2
        facts: dict[str, Any] = {"subject": f"s{split}{index}", "split": split, "fold": fold}
        one = sample(index, domain, (32, 32, 3), image=image, mask=mask, **facts)
        found.append(replace(one, id=f"{split}{index}", columns={"mpp": 0.5}, **new))
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "two.zarr"
    train = pictures("a", 8, Split.TRAIN)
    write_dataset(path, [*train, *(p for d in "ab" for p in pictures(d, 4, Split.TEST))])
    return path


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Run the commands in this process; return them."""
    found: list[list[str]] = []

    def call(words: Sequence[str], tell: object = None) -> tuple[int, str]:
        found.append(list(words))
        with redirect_stdout(io.StringIO()) as printed:
            code = main(list(words))
        return code, printed.getvalue()

    monkeypatch.setattr(study, "_call", call)
    return found


def columns(path: Path, names: list[str]) -> dict[str, list[Any]]:
    return pq.read_table(path, columns=names).to_pydict()


def ask(data: Path | str, out: Path | str, **more: Any) -> Any:  # noqa: ANN401
    how = {"train": TRAIN, "permutations": 9, **more.pop("options", {})}
    return run_study(data, out, options=Options(**how), **more)


@pytest.mark.long
def test_two_domains_from_training_to_the_page(
    data: Path, tmp_path: Path, called: list[list[str]]
) -> None:
    out = tmp_path / "study"
    found = ask(data, out)
    assert found.outputs == (out / "report.html",)
    assert found.failures == ()
    assert found.summary["reference domain"] == "a"
    assert found.summary["other domains"] == ["b"]
    assert "shifts" not in found.summary
    scored = columns(out / "predictions.parquet", ["domain", "clean_skips"])
    assert set(scored["domain"]) == {"a", "b"}
    clean = columns(out / "substituted.parquet", ["domain", "clean_skips"])
    assert set(clean["domain"]) == {"b"}
    assert {"1", "bottleneck", "1+2+3+4"} <= {
        each.partition("@")[0] for each in clean["clean_skips"]
    }
    (table,) = out.glob("shift-*.parquet")
    rows = columns(table, ["reference_domain", "domain", "metric"])
    assert set(zip(rows["reference_domain"], rows["domain"], strict=True)) == {("a", "b")}
    assert "paired-difference" in rows["metric"]
    assert not list(out.glob("features-*"))  # the activations were deleted
    assert "IoU" in (out / "report.html").read_text()

    # Again: what is there is not made again, and the commands can be read and repeated.
    heard = Heard()
    ask(data, tmp_path / "dry", dry_run=True, progress=heard)
    shown = [shlex.split(line.removeprefix("$ ")) for line in heard.said if line[0] == "$"]
    dry, there = str(tmp_path / "dry"), str(out)
    assert [*(word.replace(dry, there) for word in shown[0][1:]), "--quiet"] == called[0]
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    first = [words[0] for words in called]
    assert first == ["train", "predict", "predict", "features", "hellinger", "report"]
    called.clear()
    left = out / f"features-{table.stem.removeprefix('shift-')}"
    left.mkdir()  # as of a study that was killed before it could delete them
    ask(data, out)
    assert not left.exists()
    assert [words[0] for words in called] == ["train", "predict", "predict", "report"]
    assert {p: p.stat().st_mtime_ns for p in before if "report" not in p.name} == {
        p: t for p, t in before.items() if "report" not in p.name
    }
    lines = (out / "commands.sh").read_text().splitlines()[1:]
    assert [shlex.split(line)[:2] for line in lines] == [["skiptool", w[0]] for w in called]


@pytest.mark.long
def test_single_domain_is_shifted_and_models_can_be_given(
    data: Path, tmp_path: Path, called: list[list[str]]
) -> None:
    single = tmp_path / "one.zarr"
    write_dataset(single, [*pictures("a", 8, Split.TRAIN), *pictures("a", 4, Split.TEST)])
    options = {"shifts": MEASURED[:1], "keep_features": True}
    found = ask(single, tmp_path / "s", options=options)
    assert found.summary["shifts"] == ["brightness=0.5"]
    shifts = columns(tmp_path / "s/predictions.parquet", ["shift", "clean_skips"])
    assert set(shifts["shift"]) == {"original", "brightness"}
    assert len(list((tmp_path / "s").glob("features-*/*.zarr"))) == 2
    called.clear()
    ask(single, tmp_path / "t", models=[tmp_path / "s/runs"], options={"shifts": MEASURED[:1]})
    assert called[0][0] == "predict"
    assert not (tmp_path / "t/runs").exists()


def test_a_dry_run_shows_the_commands_and_writes_nothing(
    data: Path, tmp_path: Path, called: list[list[str]]
) -> None:
    out, heard = tmp_path / "study", Heard()
    found = ask(data, out, dry_run=True, progress=heard)
    assert (found.outputs, found.side_outputs, called) == ((), (), [])
    assert not out.exists()
    assert found.summary == {"reference domain": "a", "other domains": ["b"]}
    commands = [shlex.split(line.removeprefix("$ ")) for line in heard.said if line[0] == "$"]
    steps = ["train", "predict", "predict", "features", "hellinger", "report"]
    assert [words[1] for words in commands] == steps


def test_foreign_networks_are_used_with_their_normalisation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []

    def call(words: Sequence[str], tell: object = None) -> tuple[int, str]:
        called.append(list(words))
        return (0, "") if words[0] == "predict" else (1, "")

    monkeypatch.setattr(study, "_call", call)
    options = {"foreign": {"normalise": "imagenet"}, "substitute": False}
    (tmp_path / "smp").mkdir()
    with pytest.raises(SkiptoolError, match="features"):
        ask(data, tmp_path / "s", models=[tmp_path / "smp"], options=options)
    assert [words[0] for words in called] == ["predict", "features"]
    assert all(words[words.index("--normalise") + 1] == "imagenet" for words in called)
    with pytest.raises(ArgumentError, match=r"name them with --models"):
        ask(data, tmp_path / "t", options=options)


def test_unaligned_domains_are_not_substituted(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    coarse = [replace(p, columns={"mpp": 0.75}) for p in pictures("c", 4, Split.TEST)]
    others = pictures("b", 3, Split.TEST)
    write_dataset(
        path,
        [*pictures("a", 8, Split.TRAIN), *pictures("a", 4, Split.TEST), *others, *coarse],
    )
    heard = Heard()
    planned = study._plan(path, tmp_path / "s", None, None, Options(), heard)
    assert (planned.others, planned.aligned) == (("b", "c"), ())
    assert any("mpp of sample test0 is 0.75 and 0.5 in a" in line for line in heard.lines)
    assert any("b, c: skip connections are not substituted there" in line for line in heard.lines)
    assert any("b: 3 subjects to test on" in line for line in heard.lines)


def test_untested_domains_are_a_warning(data: Path, tmp_path: Path) -> None:
    path, heard = tmp_path / "d.zarr", Heard()
    own = [*pictures("a", 8, Split.TRAIN), *pictures("a", 4, Split.TEST)]
    write_dataset(path, [*own, *pictures("b", 4, Split.TRAIN)])
    planned = study._plan(path, tmp_path / "s", "a", None, Options(), heard)
    assert planned.others == ()
    assert any("domain b has no test samples" in line for line in heard.lines)
    alone = tmp_path / "b.zarr"
    write_dataset(alone, pictures("b", 4, Split.TEST))
    with pytest.raises(MismatchError, match="has no domain 'a', with which the others"):
        ask(data, tmp_path / "t", test=alone)


@pytest.mark.slow
def test_one_of_two_domains_is_aligned(tmp_path: Path, called: list[list[str]]) -> None:
    path = tmp_path / "d.zarr"
    strangers = [replace(p, subject=f"c{p.subject}") for p in pictures("c", 4, Split.TEST)]
    tested = [p for d in "ab" for p in pictures(d, 4, Split.TEST)]
    write_dataset(path, [*pictures("a", 8, Split.TRAIN), *tested, *strangers])
    ask(path, tmp_path / "s")
    clean = columns(tmp_path / "s/substituted.parquet", ["domain"])
    assert set(clean["domain"]) == {"b"}
    rows = columns(next((tmp_path / "s").glob("shift-*.parquet")), ["domain", "metric"])
    assert set(rows["domain"]) == {"b", "c"}
    assert "paired-difference" not in rows["metric"]


def test_another_study_in_the_folder_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(ExistsError, match="is no study"):
        ask(data, out)
    (out / "thesis.txt").unlink()
    (out / "study.json").write_text(json.dumps({"seed": 3}))
    with pytest.raises(ExistsError, match="give another --out"):
        ask(data, out)


def test_failing_step_ends_the_study(data: Path, tmp_path: Path, called: Any) -> None:  # noqa: ANN401
    with pytest.raises(SkiptoolError, match="'skiptool train' ended with exit code 2"):
        ask(data, tmp_path / "s", options={"train": {**TRAIN, "encoder": "resnet19"}})
    assert len(called) == 1


def test_unclear_training_domain_is_refused(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    write_dataset(path, [p for d in "ab" for p in pictures(d, 4, Split.TRAIN)])
    with pytest.raises(ArgumentError, match=r"a, b have training samples.*--train-domain"):
        ask(path, tmp_path / "s")
    with pytest.raises(MismatchError, match="no test samples"):
        ask(path, tmp_path / "s", train_domain="a")
    with pytest.raises(ArgumentError, match="no domain 'x'"):
        ask(data, tmp_path / "s", train_domain="x")


@pytest.mark.slow
def test_steps_run_as_processes(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["study", str(data), "-o", str(tmp_path / "s"), "--prune", "1", "--fold", "0"]
    words += ["--epochs", "1", "--encoder-weights", "none", "--permutations", "9"]
    assert main([*words, "--no-substitute"]) == 0
    out, err = capfd.readouterr()
    assert out == f"{tmp_path / 's' / 'report.html'}\n"
    assert "$ skiptool train" in err


def test_steps_of_each_network_are_summarised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line a comparison; warnings that differ only in the network once, other lines always."""
    rows = [("input", 0.25, 0.2, 0.3), ("enc1", 0.5, None, None), ("dec5", None, None, None)]
    names = ("layer", "corrected", "ci_low", "ci_high")

    def call(words: Sequence[str], tell: Callable[[str], None]) -> tuple[int, str]:
        network = words[1]
        tell(f"skiptool: warning: {network}_B: {3 + int(network[1])} subjects")
        for line in (
            f"hellinger: 3 of 4, about 0:00:0{network[1]} left",
            "metric: hellinger",
            "│ L0 │",
        ):
            tell(line)
        columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
        columns |= {"other": [f"{network}_B"] * 3, "metric": ["hellinger"] * 3}
        return 0, json.dumps({"outputs": [f"{network}.parquet"], "tables": [{"columns": columns}]})

    monkeypatch.setattr(study, "_call", call)
    heard = Heard()
    steps = study._Steps(tmp_path, heard, dry=False)
    for network in ("L0", "L1"):
        assert steps.run(["hellinger", network], network=network) == [f"{network}.parquet"]
    summary = "Hellinger distance 0.250 [0.200, 0.300] at input, 0.500 at enc1 (greatest)"
    left = "hellinger: 3 of 4, about 0:00:0"
    assert heard.said == [
        "$ skiptool hellinger L0",
        "skiptool: warning: L0_B: 3 subjects",
        f"{left}0 left",
        f"L0_B: {summary}",
        "$ skiptool hellinger L1",
        f"{left}1 left",
        f"L1_B: {summary}",
    ]


def test_a_study_is_repeated_from_its_config(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both studies call the same commands, up to the first, which is made to fail here."""
    monkeypatch.setattr(study, "_call", lambda words, tell=None: (1, ""))
    first, again, file = (tmp_path / name for name in ("first", "again", "study.toml"))
    words = ["--prune", "1", "--epochs", "3", "--lr", "0.01", "--shift", "contrast=0.5"]
    words += ["--no-substitute", "--permutations", "9", "--title", "A study", "--test", str(data)]
    assert main(["study", str(data), *words, "-o", str(first)]) == 1
    capsys.readouterr()
    assert main(["info", "--config", str(first)]) == 0
    file.write_text(capsys.readouterr().out)
    assert 'title = "A study"' in file.read_text()
    assert main(["study", "--config", str(file), "-o", str(again)]) == 1
    records = [json.loads((path / "study.json").read_text()) for path in (first, again)]
    logs = [(path / "commands.sh").read_text().replace(str(path), "OUT") for path in (first, again)]
    for record, path in zip(records, (first, again), strict=True):
        record["command"] = record["command"].replace(str(path), "OUT")
    assert records[0] == records[1]
    assert logs[0] == logs[1]
    assert records[0]["train"]["epochs"] == "3"


@pytest.mark.long
def test_lines_of_stderr_are_passed_on() -> None:
    lines: list[str] = []
    code, printed = study._call(("hellinger", "gone.zarr"), lines.append)
    assert (code, printed) == (1, "")
    assert "gone.zarr" in lines[-1]


def test_remote_models(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step reads them from there; tables are named after run and fold."""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp (extra remote)")
    lines: list[str] = []
    monkeypatch.setattr(study, "_call", lambda words, tell=None: (int(words[0] == "features"), ""))
    progress: Any = SimpleNamespace(say=lines.append, warn=lines.append, quiet=False)
    write_small_model(tmp_path / "web/runs/fold0")
    with serving(tmp_path / "web") as web:
        url = f"{web.host.replace('//', '//me:secret@')}/runs/fold0?sig=secret"
        with pytest.raises(SkiptoolError, match="'skiptool features' ended with exit code 1"):
            ask(data, tmp_path / "s", models=[url], progress=progress)
        record = json.loads((tmp_path / "s/study.json").read_text())
        assert record["models"] == [f"{web.host}/runs/fold0"]
        assert f"skiptool features {web.host}/runs/fold0 --data" in lines[-1]
        assert str(tmp_path / "s/features-runs-fold0") in lines[-1]


def test_remote_data(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps read them from there, with the password, which is nowhere to be read."""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp (extra remote)")
    words: list[str] = []
    lines: list[str] = []
    monkeypatch.setattr(study, "_call", lambda each, tell=None: (1, words.extend(each) or ""))
    progress: Any = SimpleNamespace(say=lines.append, warn=lines.append, quiet=False)
    with serving(data.parent) as web:
        url = f"{web.host.replace('//', '//me:secret@')}/two.zarr?sig=secret"
        with pytest.raises(SkiptoolError, match="'skiptool train' ended with exit code 1"):
            ask(url, tmp_path / "s", train_domain="a", progress=progress)
        assert words[:2] == ["train", url]
        for text in ((tmp_path / "s/commands.sh").read_text(), *lines):
            assert "secret" not in text
        assert f"skiptool train {web.host}/two.zarr --domain a" in lines[-1]
    with pytest.raises(ArgumentError, match="s3://b/s: a study is made in a folder on this mach"):
        ask(data, "s3://b/s")
