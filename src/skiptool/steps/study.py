"""``skiptool study``: all steps from a dataset to a report.

A study trains networks on one domain, tests them on all, measures how far the shift reaches into
each network, substitutes skip connections where possible, and writes the report. Every step is a
``skiptool`` command in a process of its own, so that each can be repeated by hand, and an
interrupted study continues with the step at which it stopped.

With several domains, the shift is that between the training domain and each of the others. With a
single domain, the shifts are the controlled ones of the paper (section IV.A).
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

from skiptool.errors import ArgumentError, ExistsError, MismatchError, SkiptoolError
from skiptool.names import Split
from skiptool.records import SILENT, Outcome, Progress
from skiptool.stores.addresses import last_part, parent_url, path_or_url, redact, require_local
from skiptool.stores.artifacts import STUDY_RECORD, model_places
from skiptool.stores.dataset import DatasetStore, Domain, open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.lineage import Invocation
from skiptool.stores.staging import atomic_file
from skiptool.substitution import PIXEL_SIZES, SAME_SCALE

MEASURED: Final = ("brightness=0.5", "brightness=0.75", "brightness=1.5", "contrast=0.5")
"""Shifts of a single domain under which distances are measured and skip connections substituted."""

COLOUR: Final = "saturation=0"
"""Additional shift of colour images."""

FEWEST: Final = 5
"""Subjects per domain below which few comparisons can have a p-value below 0.05."""

MEASURES: Final = ("hellinger", "covariance", "classifier")

_PROGRESS: Final = re.compile(r".+: [\d,]+ of [\d,]+\b")
"""Line of progress on stderr if it is no terminal."""

_PATIENCE: Final = 20.0
"""Time for an interrupted step to clean up, in seconds."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a study, most of which it passes to its steps.

    Attributes
    ----------
    train : mapping of str to str or sequence of str
        Options of ``skiptool train``, such as ``{"epochs": "12"}``. A sequence repeats the option.
    predict : mapping of str to str
        Options of ``skiptool predict``, such as ``{"precision": "32"}``.
    foreign : mapping of str to str
        Options of the steps that use trained networks, for networks that skiptool did not train,
        such as ``{"normalise": "imagenet"}``.
    compute : mapping of str to str
        Options of every step that runs a network, such as ``{"device": "cuda"}``.
    shifts : sequence of str
        Controlled shifts (``brightness=0.5``) instead of the default ones; with several domains
        the training domain is tested under them too.
    split : str
        Samples to test on: ``test``, ``all`` or ``train``.
    permutations, seed : int
        Of the tests of distances.
    substitute : bool
        Substitute skip connections where the data allow it.
    keep_features : bool
        Keep the activations, which can be far larger than the data.
    """

    train: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    predict: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)
    compute: Mapping[str, str] = field(default_factory=dict)
    shifts: Sequence[str] = ()
    split: str = Split.TEST
    permutations: int = 199
    seed: int = 0
    substitute: bool = True
    keep_features: bool = False


@dataclass(frozen=True, slots=True)
class _Study:
    """The domains and shifts that a study compares.

    Attributes
    ----------
    reference : str
        Training domain.
    others : tuple of str
        All other domains with samples to test on.
    aligned : tuple of str
        Those of ``others`` that show the same fields of view as the reference, at the same scale.
    shifts : tuple of str
        Controlled shifts of the reference domain.
    """

    data: Path | str
    test: Path | str
    out: Path
    reference: str
    others: tuple[str, ...]
    aligned: tuple[str, ...]
    shifts: tuple[str, ...]
    options: Options


def run_study(
    data: Path | str,
    out: Path | str = "study",
    *,
    train_domain: str | None = None,
    test: Path | str | None = None,
    models: Sequence[Path | str] = (),
    options: Options | None = None,
    title: str | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Train on one domain, test on all, measure the shift layer by layer, and write a report.

    Parameters
    ----------
    data : Path or str
        Dataset store to train on, a local path or a URL. Every step reads it from there.
    out : Path
        Folder of the study. A second call with the same arguments continues where the first
        stopped.
    train_domain : str, optional
        Domain to train on; required if several have training samples.
    test : Path or str, optional
        Dataset store to test on, by default ``data``.
    models : sequence of Path or str
        Trained models, or folders of them, to use instead of training; local paths or URLs.
    dry_run : bool
        Show the commands only.

    Returns
    -------
    Outcome
        Output: the report. Side outputs: the tables.

    Raises
    ------
    ArgumentError
        If the domain to train on is unknown or unclear, or options for networks trained elsewhere
        are given without such networks.
    MismatchError
        If there are no samples to test on.
    ExistsError
        If the folder holds a study of other data or with other options.
    SkiptoolError
        If a step fails, after its own error message.
    """
    options = options or Options()
    if options.foreign and not models:
        raise ArgumentError(
            "--normalise is for networks that skiptool did not train; name them with --models"
        )
    study = _plan(
        path_or_url(data),
        require_local(out, "a study is made in a folder on this machine only"),
        train_domain,
        None if test is None else path_or_url(test),
        options,
        progress,
    )
    steps = _Steps(study.out, progress, dry=dry_run)
    if not dry_run:
        _write_record(study, models, title)
        steps.begin()
    trained = [str(model) for model in models] or _train(study, steps)
    tables = [*_predict(study, steps, trained), *_measure(study, steps, trained)]
    if not models:
        tables += [str(Path(model) / "history.parquet") for model in trained]
    report = _report(study, steps, tables, title or f"Trained on {study.reference}")
    summary: dict[str, Any] = {"reference domain": study.reference}
    if study.others:
        summary["other domains"] = list(study.others)
    if study.shifts:
        summary["shifts"] = list(study.shifts)
    if dry_run:
        return Outcome(summary=summary)
    summary |= {"networks": len(trained), "commands": steps.count}
    return Outcome((report,), tuple(map(Path, tables)), summary, tuple(steps.incomplete))


# Plan and record


def _plan(
    data: Path | str,
    out: Path,
    domain: str | None,
    test: Path | str | None,
    options: Options,
    progress: Progress,
) -> _Study:
    """Choose the domains and shifts; warn about limits of their comparison."""
    store = open_dataset(data)
    reference = _training_domain(store, domain)
    tested = store if test is None else open_dataset(test)
    split = None if options.split == "all" else options.split
    domains = {name: own for name, own in tested.domains.items() if own.select(split)}
    if reference not in tested.domains:
        raise MismatchError(
            f"{tested.path}: has no domain {reference!r}, with which the others are compared; "
            "--test requires a dataset that also holds the training domain"
        )
    if reference not in domains:
        raise MismatchError(
            f"{tested.path}: domain {reference!r} has no {options.split} samples to compare the "
            "others with; hold some out, or give --split all"
        )
    _warn_untested(tested, domains, options.split, progress)
    _warn_few_subjects(domains, split, progress)
    others = tuple(name for name in domains if name != reference)
    aligned = tuple(
        name for name in others if _are_aligned(domains[reference], domains[name], split, progress)
    )
    unaligned = [name for name in others if name not in aligned]
    if unaligned and options.substitute and not options.shifts:
        progress.warn(
            f"{', '.join(unaligned)}: skip connections are not substituted there, as that requires "
            f"the same samples as in {reference} at the same scale; --shift brightness=0.5 (or "
            f"another controlled shift) substitutes them within {reference}"
        )
    shifts = tuple(options.shifts)
    if not others and not shifts:
        shifts = MEASURED if domains[reference].channels == 1 else (*MEASURED, COLOUR)
    return _Study(data, test or data, out, reference, others, aligned, shifts, options)


def _warn_untested(
    tested: DatasetStore, domains: Mapping[str, Domain], split: str, progress: Progress
) -> None:
    for name in tested.domains:
        if name not in domains:
            progress.warn(
                f"{tested.path}: domain {name} has no {split} samples, so no network is tested on "
                "it; give --split all, or extract with --train-domain, which holds out all other "
                "domains for testing"
            )


def _warn_few_subjects(
    domains: Mapping[str, Domain], split: str | None, progress: Progress
) -> None:
    for name, domain in domains.items():
        count = len({*domain.columns["subject"][domain.select(split)].tolist()})
        if count < FEWEST:
            subjects = "1 subject" if count == 1 else f"{count} subjects"
            progress.warn(
                f"{name}: {subjects} to test on; distances between domains need about {FEWEST} "
                "subjects of each to be estimated and tested"
            )


def _training_domain(store: DatasetStore, domain: str | None) -> str:
    if domain is not None:
        return store.domain(domain).name
    trained = [name for name, own in store.domains.items() if own.select(Split.TRAIN)]
    if len(trained) != 1:
        subject = f"{', '.join(trained)} have" if trained else "no domain has"
        raise ArgumentError(
            f"{store.path}: {subject} training samples; name the domain to train on with "
            "--train-domain"
        )
    return trained[0]


def _are_aligned(reference: Domain, other: Domain, split: str | None, progress: Progress) -> bool:
    """Return True if two domains show the same samples of the same subjects at the same scale."""
    reference_sizes, other_sizes = _pixel_sizes(reference, split), _pixel_sizes(other, split)
    shape = (reference.height, reference.width, reference.channels)
    if shape != (other.height, other.width, other.channels):
        return False
    if reference_sizes.keys() != other_sizes.keys():
        return False
    for (sample, subject), sizes in reference_sizes.items():
        for column, size in sizes.items():
            other_size = other_sizes[sample, subject].get(column, size)
            if abs(other_size / size - 1) > SAME_SCALE:
                progress.warn(
                    f"{other.name}: {column} of sample {sample} is {other_size:g} and {size:g} in "
                    f"{reference.name}; bring both to one pixel size (extract wsi --mpp, extract "
                    "mri --spacing) to substitute skip connections between them"
                )
                return False
    return True


def _pixel_sizes(domain: Domain, split: str | None) -> dict[tuple[str, str], dict[str, float]]:
    """Return the known pixel sizes of samples by id and subject."""
    columns = domain.columns
    names = [n for n in PIXEL_SIZES if n in columns and columns[n].dtype.kind in "iuf"]
    return {
        (str(columns["id"][index]), str(columns["subject"][index])): {
            name: size for name in names if (size := float(columns[name][index])) > 0
        }
        for index in domain.select(split)
    }


def _write_record(study: _Study, models: Sequence[Path | str], title: str | None) -> None:
    """Record data and options of the study; refuse a folder that holds another one."""
    options = study.options
    record: dict[str, Any] = {
        "data": open_dataset(study.data).lineage.id,
        "test": open_dataset(study.test).lineage.id,
        "train_domain": study.reference,
        "models": sorted(redact(str(model)) for model in models),
        "train": {
            name: value if isinstance(value, str) else list(value)
            for name, value in sorted(options.train.items())
        },
        "foreign": dict(options.foreign),
        "shifts": list(study.shifts),
        "split": options.split,
        "permutations": options.permutations,
        "seed": options.seed,
    }
    path = study.out / STUDY_RECORD
    if path.exists():
        before = json.loads(path.read_text())
        before.setdefault("foreign", {})  # studies begun before there were such options
        changed = [name for name in record if before.get(name) != record[name]]
        if changed:
            changes = "; ".join(
                f"{name} was {before.get(name)!r}, now {record[name]!r}" for name in changed[:3]
            )
            raise ExistsError(f"{study.out}: holds a study with {changes}; give another --out")
        return
    if study.out.exists() and any(study.out.iterdir()):
        raise ExistsError(f"{study.out}: exists, but is no study; give another --out")
    study.out.mkdir(parents=True, exist_ok=True)
    origin = {
        "command": _invocation(study, models, title).command,
        "skiptool_version": version("skiptool"),
    }
    with atomic_file(path) as partial:
        partial.write_text(json.dumps({**record, **origin}, indent=1) + "\n")


def _invocation(study: _Study, models: Sequence[Path | str], title: str | None) -> Invocation:
    """Return the call that repeats the study."""
    options = study.options
    parameters: dict[str, Any] = {
        "train_domain": study.reference,
        "models": list(models),
        **options.train,
        **options.foreign,
        "shift": list(options.shifts),
        "split": options.split,
        "permutations": options.permutations,
        "seed": options.seed,
        "no_substitute": not options.substitute,
        "keep_features": options.keep_features,
        "title": title,
    }
    if study.test != study.data:
        parameters["test"] = study.test
    return Invocation("study", (study.data,), parameters, {"out": study.out})


# Commands


class _Steps:
    """Runs commands and logs them in ``commands.sh``, or only prints them (``dry``)."""

    def __init__(self, out: Path, progress: Progress, *, dry: bool) -> None:
        self.dry = dry
        self.count = 0
        self.incomplete: list[str] = []
        self._seen: set[str] = set()
        self._log = out / "commands.sh"
        self._progress = progress

    def begin(self) -> None:
        """Start a new list of commands."""
        self._log.write_text("# The commands of the last run of this study, in order.\n")

    def run(self, words: Sequence[str], to: Path | None = None, network: str = "") -> list[str]:
        """Run a ``skiptool`` command and return the paths that it printed.

        Parameters
        ----------
        words : sequence of str
            Arguments of ``skiptool``; a dry run returns the one after ``-o``.
        to : Path, optional
            Output of a command without ``--resume``, which is skipped if this exists.
        network : str
            Network of a command that is run for each. It shows one line per comparison instead of
            its tables, and only the first of warnings that differ in the network and numbers alone.
        """
        line = shlex.join(("skiptool", *map(redact, words)))
        if self.dry:
            self._progress.say(f"$ {line}")
            return [words[words.index("-o") + 1]]
        with self._log.open("a") as log:
            log.write(f"{line}\n")
        if to is not None and to.exists():
            self._progress.say(f"{to}: already exists")
            return [str(to)]
        self._progress.say(f"$ {line}")
        self.count += 1
        if network and not self._progress.quiet:
            code, printed = _call([*words, "--json"], partial(self._say_once, network))
            result = json.loads(printed) if printed else {"outputs": [], "tables": []}
            paths: list[str] = result["outputs"]
            for text in _comparison_lines(result["tables"]):
                self._progress.say(text)
        else:
            code, printed = _call([*words, "--quiet"] if self._progress.quiet else words)
            paths = [path for path in printed.splitlines() if path]
        if code == 3:
            self.incomplete.append(f"skiptool {words[0]}: some inputs failed, see above")
        elif code:
            raise SkiptoolError(
                f"'skiptool {words[0]}' ended with exit code {code}; remove the cause and run the "
                "same line again, to go on where it stopped"
            )
        return paths

    def _say_once(self, network: str, line: str) -> None:
        """Show a line of a command's stderr if it is progress, an error or a new warning."""
        if _PROGRESS.match(line):
            self._progress.say(line)
        elif line.startswith("skiptool"):
            pattern = re.sub(r"\d+", "#", line.replace(network, "NETWORK"))
            if pattern not in self._seen:
                self._progress.say(line)
            self._seen.add(pattern)


def _comparison_lines(tables: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Summarise each comparison of a shift table by its first and greatest distances."""
    for table in tables:
        by_other: dict[str, list[Mapping[str, Any]]] = {}
        for values in zip(*table["columns"].values(), strict=True):
            row = dict(zip(table["columns"], values, strict=True))
            if row["metric"] == MEASURES[0] and row["corrected"] is not None:
                by_other.setdefault(row["other"], []).append(row)
        for other, rows in by_other.items():
            greatest = max(rows, key=lambda row: row["corrected"])
            shown = [rows[0]] if greatest is rows[0] else [rows[0], greatest]
            at_layers = ", ".join(f"{_estimate(row)} at {row['layer']}" for row in shown)
            yield f"{other}: Hellinger distance {at_layers} (greatest)"


def _estimate(row: Mapping[str, Any]) -> str:
    if row["ci_low"] is None:
        return f"{row['corrected']:.3f}"
    return f"{row['corrected']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def _call(words: Sequence[str], tell: Callable[[str], None] | None = None) -> tuple[int, str]:
    """Run a command in a new process; return its exit code and stdout.

    Its stderr is that of this process, or is passed line by line to ``tell``.
    """
    command = [sys.executable, "-m", "skiptool", *words]
    stderr = None if tell is None else subprocess.PIPE
    with (
        ThreadPoolExecutor(1) as reader,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            stdout = reader.submit(_read, process.stdout)
            if tell is not None:
                for line in process.stderr or ():
                    tell(line.rstrip("\n"))
            text = stdout.result()
            process.wait()
        except BaseException:
            _end(process)
            raise
    return process.returncode, text


def _read(stream: IO[str] | None) -> str:
    return stream.read() if stream else ""


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for a step, which received the same interrupt, and terminate it if necessary."""
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def _words(options: Mapping[str, str | Sequence[str]]) -> list[str]:
    """Return options as words of the command line; a sequence repeats its option."""
    words = []
    for name, value in options.items():
        for text in [value] if isinstance(value, str) else value:
            words += [f"--{name}", text]
    return words


# Steps


def _train(study: _Study, steps: _Steps) -> list[str]:
    """Train the networks and return their folders."""
    options = {
        "domain": study.reference,
        **study.options.train,
        **study.options.compute,
        "seed": str(study.options.seed),
    }
    out = str(study.out / "runs")
    return steps.run(["train", str(study.data), *_words(options), "-o", out, "--resume"])


def _predict(study: _Study, steps: _Steps, models: Sequence[str]) -> list[str]:
    """Predict all domains, then with substituted skip connections; return the tables."""
    options = study.options
    domain: dict[str, str | Sequence[str]] = {"domain": study.reference}
    common = {
        "data": str(study.test),
        "split": options.split,
        **options.predict,
        **options.foreign,
        **options.compute,
    }
    runs: dict[str, dict[str, str | Sequence[str]]] = {}
    if study.others:
        runs["predictions"] = {}
    if study.shifts:
        sweep = {} if study.others or options.shifts else {"sweep": "paper"}
        name = "sweep" if study.others else "predictions"
        runs[name] = domain | sweep | {"shift": ["original", *study.shifts]}
    if options.substitute and study.aligned:
        runs["substituted"] = {
            "domain": study.aligned,
            "clean-skips": "each",
            "clean-domain": study.reference,
        }
    if options.substitute and study.shifts:
        name = "substituted-sweep" if study.others else "substituted"
        runs[name] = domain | {"clean-skips": "each", "shift": study.shifts}
    tables = []
    for name, run_options in runs.items():
        words = ["predict", *models, *_words(common), "--resume", *_words(run_options)]
        tables += steps.run([*words, "-o", str(study.out / f"{name}.parquet")])
    return tables


def _measure(study: _Study, steps: _Steps, models: Sequence[str]) -> list[str]:
    """Measure distances, one network at a time, and return the tables.

    The activations of a network are deleted after their comparison, unless they are to be kept:
    those of many networks can take a terabyte.
    """
    tables = []
    keep = study.options.keep_features
    paired = set(study.others) <= set(study.aligned)  # controlled shifts always are
    options = {
        "metric": (*MEASURES, "paired-difference") if paired else MEASURES,
        "permutations": str(study.options.permutations),
        "seed": str(study.options.seed),
    }
    places: list[Path | str] = [path_or_url(model) for model in models]
    if steps.dry and any(isinstance(place, Path) and not place.exists() for place in places):
        places = [study.out / "runs" / "NETWORK"]  # not trained yet
    for model in model_places(places):
        run = model.parent if isinstance(model, Path) else parent_url(model)
        name = f"{last_part(run)}-{last_part(model)}"
        table = study.out / f"shift-{name}.parquet"
        folder = study.out / f"features-{name}"
        if table.exists() and (folder.exists() or not keep):
            tables.append(str(table))
            if folder.exists() and not keep:
                shutil.rmtree(folder)  # of a run that ended before it could delete them
            continue
        stores = _features(study, steps, model, folder)
        if steps.dry:
            stores = stores[:1]  # the folder
        else:
            stores.sort(key=lambda store: not _is_reference(store, study.reference))
        words = ["hellinger", *stores, *_words(options), "-o", str(table)]
        tables += steps.run(words, to=table, network=name)
        if not (keep or steps.dry):
            shutil.rmtree(folder)
    return tables


def _features(study: _Study, steps: _Steps, model: Path | str, folder: Path) -> list[str]:
    options = {
        "data": str(study.test),
        "split": study.options.split,
        **study.options.foreign,
        **study.options.compute,
    }
    words = ["features", str(model), *_words(options), "-o", str(folder), "--resume"]
    stores = steps.run(words) if study.others else []
    if study.shifts:
        shifts = study.shifts if study.others else ("original", *study.shifts)
        stores += steps.run([*words, *_words({"domain": study.reference, "shift": shifts})])
    return stores


def _is_reference(store: str, domain: str) -> bool:
    facts = open_features(Path(store)).facts
    return facts["domain"] == domain and facts["shift"] in (None, "original")


def _report(study: _Study, steps: _Steps, tables: Sequence[str], title: str) -> Path:
    """Write the report, with the registration table next to a local dataset if there is one."""
    page = study.out / "report.html"
    inputs = [*tables]
    if isinstance(study.test, Path):
        registration = study.test.with_name(f"{study.test.stem}-qc") / "registration.parquet"
        inputs += [str(registration)] if registration.exists() else []
    words = ["report", *inputs, str(study.test), "-o", str(page)]
    words += ["--figures", str(study.out / "figures"), "--overwrite", "--title", title]
    steps.run(words)
    return page
