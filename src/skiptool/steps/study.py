"""``skiptool study``: from a dataset to a report.

A study trains networks on one domain, tests them on all, measures how far the shift reaches into
each network, substitutes skip connections where that is possible, and writes the report. Every step
is a ``skiptool`` command of its own, run in a process of its own: what is shown is what ran, each
step can be repeated by hand, and an interrupted study goes on with the step at which it stopped.

Which steps there are depends on the data. With several domains, the shift is that between the
training domain and each of the others. With a single domain, the shifts are the controlled ones of
the paper (section IV.A).
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
from pathlib import Path
from typing import IO, Any, Final

from skiptool.errors import ArgumentError, ExistsError, MismatchError, SkiptoolError
from skiptool.names import Split
from skiptool.records import SILENT, Outcome, Progress
from skiptool.stores.addresses import last_part, local, located, parent_of, public
from skiptool.stores.artifacts import model_places
from skiptool.stores.dataset import DatasetStore, Domain, open_dataset
from skiptool.stores.features import open_features
from skiptool.stores.staging import whole_file
from skiptool.substitution import PIXEL_SIZES, SAME_SCALE

__all__ = ["MEASURED", "Options", "run_study"]

RECORD: Final = "study.json"
"""File of a study's folder that says what it is of."""

MEASURED: Final = ("brightness=0.5", "brightness=0.75", "brightness=1.5", "contrast=0.5")
"""Shifts of a single domain under which distances are measured and skip connections substituted."""

COLOUR: Final = "saturation=0"
"""The same for images that have colours."""

FEWEST: Final = 5
"""With fewer subjects of a domain, few comparisons can have a p-value below 0.05."""

MEASURES: Final = ("hellinger", "covariance", "classifier")

_PROGRESS: Final = re.compile(r".+: [\d,]+ of [\d,]+\b")
"""Line of progress where stderr is no terminal."""

_PATIENCE: Final = 20.0
"""Seconds that an interrupted step has to clean up."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a study passes on to its steps.

    Attributes
    ----------
    train : mapping of str to str or sequence of str
        Options of ``skiptool train`` and their values, such as ``{"epochs": "12"}``. A sequence
        repeats the option.
    predict : mapping of str to str
        Options of ``skiptool predict``, such as ``{"precision": "32"}``.
    foreign : mapping of str to str
        Options of both steps that use trained networks, for networks that skiptool did not train,
        such as ``{"normalise": "imagenet"}``.
    compute : mapping of str to str
        Options of every step that runs a network, such as ``{"device": "cuda"}``.
    shifts : sequence of str
        Controlled shifts (``brightness=0.5``) instead of the default ones; with several domains
        the training domain is tested under them too.
    split : str
        Samples to test on: ``test``, ``all`` or ``train``.
    permutations, seed : int
        Of the distances.
    substitute : bool
        Substitute skip connections where the data allow it.
    keep_features : bool
        Keep the activations, which can take far more room than the data.
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
    """What is compared with what.

    Attributes
    ----------
    reference : str
        Domain that was trained on.
    others : tuple of str
        All other domains that hold samples to test on.
    aligned : tuple of str
        Those of them that show the same places at the same scale as the reference.
    shifts : tuple of str
        Controlled shifts to measure; the reference domain is tested under them.
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
        Folder of the study. A second call with the same arguments goes on where the first stopped.
    train_domain : str, optional
        Domain to train on; needed if several have training samples.
    test : Path or str, optional
        Dataset store to test on, if it is another one.
    models : sequence of Path or str
        Trained models, or folders of them, to use instead of training; local paths or URLs.
    options : Options, optional
    title : str, optional
        Title of the report.
    dry_run : bool
        Show the commands, and run and write nothing.
    progress : Progress
        Each command is shown before it runs.

    Returns
    -------
    Outcome
        Output: the report. Side outputs: the tables.

    Raises
    ------
    ArgumentError
        If there is no such domain, several could be meant, or options for networks of others are
        given without such networks.
    MismatchError
        If there are no samples to test on.
    ExistsError
        If the folder holds a study of other data or with other options.
    SkiptoolError
        If a step fails; the step has said why.
    """
    options = options or Options()
    if options.foreign and not models:
        raise ArgumentError(
            "--normalise is for networks that skiptool did not train; name them with --models"
        )
    tested = None if test is None else located(test)
    place = local(out, "a study is made in a folder on this machine only")
    study = _planned(located(data), place, train_domain, tested, options, progress)
    steps = _Steps(study.out, progress, dry=dry_run)
    if not dry_run:
        _begin(study, [public(str(each)) for each in models])
        steps.begin()
    trained = [str(each) for each in models] or _train(study, steps)
    tables = [*_predict(study, steps, trained), *_measure(study, steps, trained)]
    page = study.out / "report.html"
    if not models:
        tables += [str(Path(model) / "history.parquet") for model in trained]
    extra = _registration(study.test)
    steps.run(
        *("report", *tables, *extra, str(study.test), "-o", str(page)),
        *("--figures", str(study.out / "figures"), "--overwrite"),
        *("--title", title or f"Trained on {study.reference}"),
    )
    compared = {"other domains": list(study.others), "shifts": list(study.shifts)}
    summary: dict[str, Any] = {
        "reference domain": study.reference,
        **{name: values for name, values in compared.items() if values},
    }
    if dry_run:
        return Outcome(summary=summary)
    summary |= {"networks": len(trained), "commands": steps.count}
    return Outcome((page,), tuple(map(Path, tables)), summary, tuple(steps.incomplete))


def _registration(test: Path | str) -> list[str]:
    """Return the table of registration beside a local dataset, where there is one."""
    if isinstance(test, str):
        return []
    found = test.with_name(f"{test.stem}-qc") / "registration.parquet"
    return [str(found)] if found.exists() else []


def _planned(
    data: Path | str,
    out: Path,
    domain: str | None,
    test: Path | str | None,
    options: Options,
    progress: Progress,
) -> _Study:
    """Find the domains; say what is assumed of them."""
    store = open_dataset(data)
    reference = _reference(store, domain)
    tested = store if test is None else open_dataset(test)
    split = None if options.split == "all" else options.split
    held = {name: each for name, each in tested.domains.items() if each.select(split)}
    if reference not in tested.domains:
        raise MismatchError(
            f"{tested.path}: has no domain {reference!r}, which the others are compared with; "
            "--test needs a dataset that holds the training domain too"
        )
    if reference not in held:
        raise MismatchError(
            f"{tested.path}: domain {reference!r} has no {options.split} samples to compare the "
            "others with; hold some out, or give --split all"
        )
    _tell_untested(tested, held, options.split, progress)
    others = tuple(name for name in held if name != reference)
    _tell_few(held, split, progress)
    aligned = tuple(
        name for name in others if _aligned(held[reference], held[name], split, progress)
    )
    apart = [name for name in others if name not in aligned]
    if apart and options.substitute and not options.shifts:
        progress.warn(
            f"{', '.join(apart)}: skip connections are not substituted there, as that takes the "
            f"same samples as in {reference} at the same scale; --shift brightness=0.5 (or another "
            f"controlled shift) substitutes them within {reference}"
        )
    shifts = tuple(options.shifts)
    if not others and not shifts:
        shifts = MEASURED if held[reference].channels == 1 else (*MEASURED, COLOUR)
    return _Study(data, test or data, out, reference, others, aligned, shifts, options)


def _tell_untested(
    tested: DatasetStore, held: Mapping[str, Domain], split: str, progress: Progress
) -> None:
    """Warn of domains without samples to test on."""
    for name in tested.domains:
        if name not in held:
            progress.warn(
                f"{tested.path}: domain {name} has no {split} samples, so no network is tested on "
                "it; give --split all, or extract with --train-domain, which holds out all other "
                "domains for testing"
            )


def _tell_few(held: Mapping[str, Domain], split: str | None, progress: Progress) -> None:
    """Warn of domains with too few subjects for an interval of a distance or a test."""
    for name, domain in held.items():
        subjects = len({*domain.columns["subject"][domain.select(split)].tolist()})
        if subjects < FEWEST:
            progress.warn(
                f"{name}: {subjects} subject{'s'[: subjects - 1]} to test on; distances between "
                f"domains take about {FEWEST} subjects of each to be estimated and tested"
            )


def _reference(store: DatasetStore, domain: str | None) -> str:
    if domain is not None:
        return store.domain(domain).name
    trained = [name for name, each in store.domains.items() if each.select(Split.TRAIN)]
    if len(trained) != 1:
        found = f"{', '.join(trained)} have" if trained else "no domain has"
        raise ArgumentError(
            f"{store.path}: {found} training samples; name the domain to train on with "
            "--train-domain"
        )
    return trained[0]


def _aligned(reference: Domain, other: Domain, split: str | None, progress: Progress) -> bool:
    """Whether two domains show the same places of the same subjects, equally large."""
    first, second = (_places(each, split) for each in (reference, other))
    shape = (reference.height, reference.width, reference.channels)
    if first.keys() != second.keys() or shape != (other.height, other.width, other.channels):
        return False
    for place, sizes in first.items():
        for column, own in sizes.items():
            theirs = second[place].get(column, own)
            if abs(theirs / own - 1) > SAME_SCALE:
                progress.warn(
                    f"{other.name}: {column} of sample {place[0]} is {theirs:g} and {own:g} in "
                    f"{reference.name}; bring both to one pixel size (extract wsi --mpp, extract "
                    "mri --spacing) to substitute skip connections between them"
                )
                return False
    return True


def _places(domain: Domain, split: str | None) -> dict[tuple[str, str], dict[str, float]]:
    """Return sizes of pixels, as far as they are known, by id and subject."""
    known = [
        n for n in PIXEL_SIZES if n in domain.columns and domain.columns[n].dtype.kind in "iuf"
    ]
    return {
        (str(domain.columns["id"][index]), str(domain.columns["subject"][index])): {
            name: size for name in known if (size := float(domain.columns[name][index])) > 0
        }
        for index in domain.select(split)
    }


def _begin(study: _Study, models: Sequence[str]) -> None:
    """Record what the study is of; refuse a folder that holds another one."""
    options = study.options
    record: dict[str, Any] = {
        "data": open_dataset(study.data).lineage.id,
        "test": open_dataset(study.test).lineage.id,
        "train_domain": study.reference,
        "models": sorted(models),
        "train": {name: _plain(value) for name, value in sorted(options.train.items())},
        "foreign": dict(options.foreign),
        "shifts": list(study.shifts),
        "split": options.split,
        "permutations": options.permutations,
        "seed": options.seed,
    }
    path = study.out / RECORD
    if path.exists():
        before = json.loads(path.read_text())
        before.setdefault("foreign", {})  # studies begun before there were such options
        changed = [name for name in record if before.get(name) != record[name]]
        if changed:
            told = "; ".join(f"{n} was {before.get(n)!r}, now {record[n]!r}" for n in changed[:3])
            raise ExistsError(f"{study.out}: holds a study with {told}; give another --out")
        return
    if study.out.exists() and any(study.out.iterdir()):
        raise ExistsError(f"{study.out}: exists and holds no study; give another --out")
    study.out.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def _plain(value: str | Sequence[str]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)


class _Steps:
    """Runs commands, one after the other, and notes them in ``commands.sh``; or only shows them."""

    def __init__(self, out: Path, progress: Progress, *, dry: bool) -> None:
        self.dry = dry
        self.count = 0
        self.incomplete: list[str] = []
        self._told: set[str] = set()
        self._log = out / "commands.sh"
        self._progress = progress

    def begin(self) -> None:
        """Begin the list of commands anew."""
        self._log.write_text("# The commands of the last run of this study, in order.\n")

    def run(self, *words: str, to: Path | None = None, network: str = "") -> list[str]:
        """Run ``skiptool`` with words and return the paths that it printed.

        ``to`` is an output without ``--resume``: if it is there, nothing is run. Of a command that
        is only shown, what follows ``-o`` is returned. A command that runs for each ``network``
        prints a line for each comparison instead of its tables, and warnings that differ only in
        the network and in numbers are shown once.
        """
        line = shlex.join(("skiptool", *map(public, words)))
        if self.dry:
            self._progress.say(f"$ {line}")
            return [words[words.index("-o") + 1]]
        with self._log.open("a") as log:
            log.write(f"{line}\n")
        if to is not None and to.exists():
            self._progress.say(f"{to}: is there already")
            return [str(to)]
        self._progress.say(f"$ {line}")
        self.count += 1
        if network and not self._progress.quiet:
            code, printed = _call((*words, "--json"), partial(self._tell_once, network))
            found = json.loads(printed) if printed else {"outputs": [], "tables": []}
            paths: list[str] = found["outputs"]
            for each in _in_short(found["tables"]):
                self._progress.say(each)
        else:
            code, printed = _call((*words, "--quiet") if self._progress.quiet else words)
            paths = [each for each in printed.splitlines() if each]
        if code == 3:
            self.incomplete.append(f"skiptool {words[0]}: some inputs failed, see above")
        elif code:
            raise SkiptoolError(
                f"'skiptool {words[0]}' ended with exit code {code}; once the cause is gone, run "
                "the study again and it goes on from there"
            )
        return paths

    def _tell_once(self, network: str, line: str) -> None:
        """Show a line of a command's stderr if it is of progress, an error or a new warning."""
        if _PROGRESS.match(line):
            self._progress.say(line)
        elif line.startswith("skiptool"):
            of_any = re.sub(r"\d+", "#", line.replace(network, "NETWORK"))
            if of_any not in self._told:
                self._progress.say(line)
            self._told.add(of_any)


def _in_short(tables: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Return a line for each comparison of a shift table, with its first and greatest distance."""
    for table in tables:
        rows = [
            dict(zip(table["columns"], row, strict=True))
            for row in zip(*table["columns"].values(), strict=True)
        ]
        by_other: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            if row["metric"] == MEASURES[0] and row["corrected"] is not None:
                by_other.setdefault(row["other"], []).append(row)
        for other, layers in by_other.items():
            most = max(layers, key=lambda row: row["corrected"])
            told = [layers[0]] if most is layers[0] else [layers[0], most]
            at_layers = ", ".join(f"{_estimate(row)} at {row['layer']}" for row in told)
            yield f"{other}: Hellinger distance {at_layers} (greatest)"


def _estimate(row: Mapping[str, Any]) -> str:
    if row["ci_low"] is None:
        return f"{row['corrected']:.3f}"
    return f"{row['corrected']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def _call(words: Sequence[str], tell: Callable[[str], None] | None = None) -> tuple[int, str]:
    """Run one command in a process of its own; return its exit code and what it printed.

    Its stderr is that of this process, or is handed to ``tell`` line by line.
    """
    command = [sys.executable, "-m", "skiptool", *words]
    stderr = None if tell is None else subprocess.PIPE
    with (
        ThreadPoolExecutor(1) as reader,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            printed = reader.submit(_read, process.stdout)
            if tell is not None:
                for line in process.stderr or ():
                    tell(line.rstrip("\n"))
            text = printed.result()
            process.wait()
        except BaseException:
            _end(process)
            raise
    return process.returncode, text


def _read(stream: IO[str] | None) -> str:
    return stream.read() if stream else ""


def _end(process: subprocess.Popen[str]) -> None:
    """Let a step end that was interrupted too; end it where it was not."""
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def _train(study: _Study, steps: _Steps) -> list[str]:
    """Train the networks and return their folders."""
    options = study.options
    return steps.run(
        *("train", str(study.data), "--domain", study.reference),
        *_words({**options.train, **options.compute}),
        *("--seed", str(options.seed), "-o", str(study.out / "runs"), "--resume"),
    )


def _words(options: Mapping[str, str | Sequence[str]]) -> Iterator[str]:
    """Write options as words of the command line."""
    for name, value in options.items():
        for each in (value,) if isinstance(value, str) else value:
            yield from (f"--{name}", each)


def _predict(study: _Study, steps: _Steps, models: Sequence[str]) -> list[str]:
    """Segment all domains, then with substituted skip connections; return the tables."""
    common = (
        *(*models, "--data", str(study.test), "--split", study.options.split),
        *_words({**study.options.predict, **study.options.foreign, **study.options.compute}),
        "--resume",
    )
    own = ("--domain", study.reference)
    runs: dict[str, tuple[str, ...]] = {}
    if study.others:
        runs["predictions"] = ()
    if study.shifts:
        swept = ("--sweep", "paper") if not (study.others or study.options.shifts) else ()
        runs["sweep" if study.others else "predictions"] = (
            *own, "--shift", "original", *swept, *_repeated("--shift", study.shifts),
        )  # fmt: skip
    if study.options.substitute and study.aligned:
        domains = _repeated("--domain", study.aligned)
        clean = ("--clean-skips", "each", "--clean-domain", study.reference)
        runs["substituted"] = (*domains, *clean)
    if study.options.substitute and study.shifts:
        name = "substituted-sweep" if study.others else "substituted"
        runs[name] = (*own, "--clean-skips", "each", *_repeated("--shift", study.shifts))
    tables = []
    for name, words in runs.items():
        table = study.out / f"{name}.parquet"
        tables += steps.run("predict", *common, *words, "-o", str(table))
    return tables


def _repeated(option: str, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in (option, value))


def _measure(study: _Study, steps: _Steps, models: Sequence[str]) -> list[str]:
    """Measure distances, one network at a time, and return the tables.

    The activations of a network are deleted once they are compared, unless they are to be kept:
    those of many networks can be a terabyte.
    """
    tables = []
    places: list[Path | str] = [located(each) for each in models]
    if steps.dry and any(isinstance(each, Path) and not each.exists() for each in places):
        places = [study.out / "runs" / "NETWORK"]  # not trained yet
    for model in model_places(places):
        run = model.parent if isinstance(model, Path) else parent_of(model)
        name = f"{last_part(run)}-{last_part(model)}"
        table = study.out / f"shift-{name}.parquet"
        folder = study.out / f"features-{name}"
        if table.exists() and not (study.options.keep_features and not folder.exists()):
            tables.append(str(table))
            if folder.exists() and not study.options.keep_features:
                shutil.rmtree(folder)  # of a run that ended before it could delete them
            continue
        stores = _features(study, steps, model, folder)
        if steps.dry:
            stores = stores[:1]  # the folder
        else:
            stores.sort(key=lambda each: not _is_reference(each, study.reference))
        paired = set(study.others) <= set(study.aligned)  # of controlled shifts images always are
        measures = (*MEASURES, "paired-difference") if paired else MEASURES
        tables += steps.run(
            *("hellinger", *stores, *_repeated("--metric", measures)),
            *("--permutations", str(study.options.permutations)),
            *("--seed", str(study.options.seed), "-o", str(table)),
            to=table,
            network=name,
        )
        if not (study.options.keep_features or steps.dry):
            shutil.rmtree(folder)
    return tables


def _features(study: _Study, steps: _Steps, model: Path | str, folder: Path) -> list[str]:
    common = (
        *(str(model), "--data", str(study.test), "--split", study.options.split),
        *_words({**study.options.foreign, **study.options.compute}),
        *("-o", str(folder), "--resume"),
    )
    stores = steps.run("features", *common) if study.others else []
    if study.shifts:
        shifts = () if study.others else ("--shift", "original")
        own = ("--domain", study.reference, *shifts, *_repeated("--shift", study.shifts))
        stores += steps.run("features", *common, *own)
    return stores


def _is_reference(store: str, domain: str) -> bool:
    facts = open_features(Path(store)).facts
    return facts["domain"] == domain and facts["shift"] in (None, "original")
