"""Check what the paper says of its synthetic experiment against tables of such an experiment.

Usage: python examples/paper/claims.py TABLE.parquet... [--validation TABLE.parquet]
           [--into PAGE.md]

Takes tables of 'skiptool predict' (of --sweep paper, with --clean-skips and with --shifted-skips)
and of 'skiptool hellinger' (brightness 0.75 against the original), in any mixture, and prints one
Markdown table, a row for each claim, a column for each encoder; below it what the paper says of
clinical data, the IoU by clean and by shifted part, and with --validation the errors of the
forecast. --into also writes all of it between the two lines '<!-- claims -->' and
'<!-- /claims -->' of a file. examples/paper/paper_synthetic.sh calls this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from claim_measures import (
    BRIGHTER,
    DARKER,
    FURTHER,
    PRUNINGS,
    SIZES,
    Measuring,
    absolute,
    against,
    best_in_domain,
    best_of_all,
    brightness_is_worst,
    carries,
    decoder_against_bottleneck,
    enough,
    falls_by_skip,
    falls_with_strength,
    first_against_highest,
    larger_is_better,
    layers_of,
    lowest_other_against_bottleneck,
    overall,
    relative_fall,
    smaller_against_larger,
    smallest_step,
    steeper_rise_of_the_first_two,
)
from evidence import ALPHA, Evidence, Measure
from further_tables import forecast_table, substitution_tables

from skiptool.errors import ArgumentError, SkiptoolError
from skiptool.records import ORIGINAL, Shift
from skiptool.stats.permutation import holm
from skiptool.steps.report import read_inputs
from skiptool.stores.staging import atomic_output

BEGIN, END = "<!-- claims -->", "<!-- /claims -->"
RULE = """\
Trainings and test images are both random (two-way analysis, 95 % intervals, t-tests). *Agrees* or
*disagrees* only where p < {alpha} after Holm's adjustment over the {tests} numbers that are tested;
otherwise *not decided*, as always with one training. Rows without a verdict are not tested. IoU:
of cells, summed over images. Distances: corrected for bias, at brightness 0.75. {scale}"""
CLINICAL = """\
What the paper says about clinical data was not measured here: MS-MF, L1-pruned slightly better in
domain, under shift with ResNet34 throughout and with ResNet18 not always, L4-pruned worse in domain
(V.B); MS-CCT, L1-pruned better by 8 to 12 % and by 3 to 5 %, by encoder, and L4-pruned above the
baseline (V.C); MV-MR, the baseline falls by up to 17 % between scanners, L1-pruned better
throughout, L4-pruned worse (V.D); increases of up to 10 % in domain and 13 % across domains
(abstract)."""


@dataclass(frozen=True)
class Claim:
    """What the paper says, what is measured of it, and whether that is tested."""

    says: str
    measured: str
    measure: Measuring
    tested: bool = True
    across: bool = False  # a comparison of the two encoders


CLAIMS = (
    Claim(
        "Networks perform best in domain (V.A)",
        "IoU of the original images minus the mean over all shifts, all networks; > 0",
        best_in_domain,
    ),
    Claim(
        "Performance falls with the strength of a shift (V.A)",
        "IoU at the weaker of two neighbouring factors minus the stronger one, mean over all; > 0",
        falls_with_strength,
    ),
    Claim(
        "Brightness is the worst shift (V.A)",
        "mean loss of the baseline's IoU under brightness minus the worse of the other two; > 0",
        brightness_is_worst,
    ),
    Claim(
        "IoU falls by up to almost 80 % under brightness (V.A)",
        "share of the baseline's IoU that is lost at brightness 0.5; then the range over networks",
        relative_fall,
        tested=False,
    ),
    Claim(
        "L1 is better than the baseline in domain (abstract, V.A, VI)",
        "IoU of L1-pruned minus baseline, original images; > 0",
        against(["L1-pruned"], ["baseline"], [ORIGINAL]),
    ),
    Claim(
        "L1 is better than the baseline under shift (abstract, V.A, VI)",
        "IoU of L1-pruned minus baseline, mean over all shifts; > 0",
        against(["L1-pruned"], ["baseline"]),
    ),
    Claim(
        "L1 is the best of all (abstract)",
        "IoU of L1-pruned minus the best of the other four, mean over original and shifts; > 0",
        best_of_all,
    ),
    Claim(
        "Performance falls when further skips are removed (V.A)",
        "IoU of L1-pruned minus the mean of L2 to L4, mean over original and shifts; > 0",
        overall(["L1-pruned"], FURTHER),
    ),
    Claim(
        "Networks with fewer skips are less affected by the strongest darkening (V.A, ResNet34)",
        "mean IoU of L2 to L4 minus baseline, brightness 0.5; > 0",
        against(FURTHER, ["baseline"], [Shift.parse("brightness=0.5")], only="resnet34"),
    ),
    Claim(
        "The baseline is better than a network without skips (abstract)",
        "IoU of baseline minus L4-pruned, mean over original and shifts; > 0",
        overall(["baseline"], ["L4-pruned"]),
    ),
    Claim(
        "... and so it is in domain (V.B: as on the synthetic data)",
        "IoU of baseline minus L4-pruned, original images; > 0",
        against(["baseline"], ["L4-pruned"], [ORIGINAL]),
    ),
    Claim(
        "The distance is highest at the first encoder level (V.A, Fig. 8)",
        "enc1 minus the highest of enc2 to enc5, mean over the five networks; > 0",
        layers_of((), PRUNINGS, first_against_highest),
    ),
    Claim(
        "It falls gradually towards the bottleneck (V.A)",
        "the smallest of the four steps down from enc1 to enc5, mean over the five networks; > 0",
        layers_of((), PRUNINGS, smallest_step),
    ),
    Claim(
        "It is lowest after the bottleneck (V.A)",
        "the lowest of the other nine layers minus enc5, mean over the five networks; > 0",
        layers_of((), PRUNINGS, lowest_other_against_bottleneck),
    ),
    Claim(
        "It rises slightly after the bottleneck in the baseline and L1 (V.A)",
        "mean of dec4 to dec0 minus enc5, mean over baseline and L1-pruned; > 0",
        layers_of((), PRUNINGS[:2], decoder_against_bottleneck),
    ),
    Claim(
        "... and not in the other networks (V.A)",
        "that rise minus the mean rise of L2 to L4; > 0",
        layers_of((), PRUNINGS, steeper_rise_of_the_first_two),
    ),
    Claim(
        "Removing skips gradually lowers the distance of deeper layers (abstract)",
        "fall of the mean distance of dec4 to dec0 for each skip removed (least squares, k = 0 to "
        "4); > 0",
        layers_of((), PRUNINGS, falls_by_skip, 0.3),
    ),
    Claim(
        "L2 to L4 have lower distances with ResNet34 than with ResNet18 (V.A, Fig. 8)",
        "mean distance of enc1 to dec0, ResNet18 minus ResNet34; > 0",
        layers_of(SIZES, FURTHER, smaller_against_larger),
        across=True,
    ),
    Claim(
        "... and a higher IoU (V.A)",
        "IoU of ResNet34 minus ResNet18 at brightness 0.75, mean over L2 to L4; > 0",
        larger_is_better,
        across=True,
    ),
    *(
        Claim(
            f"... namely {larger} against {smaller} ({name.removesuffix('-pruned')}, V.A)",
            f"IoU of {name} at brightness 0.75",
            absolute(name),
            tested=False,
        )
        for name, larger, smaller in zip(
            FURTHER, ("0.90", "0.91", "0.86"), ("0.86", "0.82", "0.77"), strict=True
        )
    ),
    *(
        Claim(
            f"Not in the paper: to undo a {change}, a clean L1 is enough, more than any other part",
            f"baseline, {named}: IoU with clean L1 alone minus the best of the others alone; > 0",
            enough(shifts),
        )
        for change, named, shifts in (
            ("darkening", "brightness 0.5 and 0.75", DARKER),
            ("brightening", "brightness 1.25 to 1.75", BRIGHTER),
        )
    ),
    *(
        Claim(
            f"Not in the paper: a {change} costs most by L1, where one part alone is shifted",
            f"baseline, {named}: IoU with the costliest other part alone shifted minus L1; > 0",
            carries(shifts),
        )
        for change, named, shifts in (
            ("darkening", "brightness 0.5 and 0.75", DARKER),
            ("brightening", "brightness 1.25 to 1.75", BRIGHTER),
        )
    ),
)


def table_of(evidence: Evidence) -> str:
    """Lay all claims out as Markdown."""
    sizes = evidence.encoders()
    found = {
        (claim, size): claim.measure(evidence, size)
        for claim in CLAIMS
        for size in (sizes[-1:] if claim.across else sizes)
    }
    tested = [key for key, each in found.items() if each is not None and key[0].tested]
    raw = np.array([found[key].p_value for key in tested])  # type: ignore[union-attr]
    adjusted = dict(zip(tested, holm(raw).tolist(), strict=True))
    lines = [
        f"| The paper | Measured; threshold | {' | '.join(sizes)} |",
        f"|---|---|{'---|' * len(sizes)}",
    ]
    for claim in CLAIMS:
        cells = [
            _cell(found[claim, size], adjusted.get((claim, size))) if (claim, size) in found else ""
            for size in sizes
        ]
        lines.append(f"| {claim.says} | {claim.measured} | {' | '.join(cells)} |")
    scale = {"tests": int(np.sum(~np.isnan(raw))), "alpha": ALPHA, "scale": _scale(evidence)}
    return "\n".join([RULE.format(**scale), "", *lines, "", CLINICAL])


def _cell(found: Measure | None, adjusted: float | None) -> str:
    """Write a verdict where there is one, the number, its p-value and how many trainings."""
    if found is None:
        return "not measured"
    count = len(found.trainings)
    trainings = f"{count} trainings" if count > 1 else "one training"
    if adjusted is None:
        return f"{found}; {trainings}"
    p_value = "" if np.isnan(adjusted) else f"; p {_short(adjusted)}"
    return f"**{found.verdict(adjusted)}**: {found}{p_value}; {trainings}"


def _short(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def _scale(evidence: Evidence) -> str:
    """Say what the numbers rest on."""
    if evidence.counts is None:
        return "No predictions."
    trainings: dict[str, set[tuple[int | None, int]]] = {}
    for network in evidence.networks:
        found = evidence.counts.networks[network].trainings
        trainings.setdefault(network.encoder, set()).update(found)
    each = ", ".join(f"{encoder} {len(found)}" for encoder, found in trainings.items())
    return f"{len(evidence.counts.subjects)} test images; trainings: {each}."


def everything(tables: Sequence[Path], validation: Sequence[Path]) -> str:
    """Return the claims, then what else the tables say, one below the other."""
    inputs = read_inputs(tables)
    evidence = Evidence.read(inputs)
    parts = [table_of(evidence), *substitution_tables(evidence)]
    if validation:
        scored = read_inputs(validation)
        shifts = scored.shifts or inputs.shifts
        parts.append(forecast_table(replace(inputs, predictions=scored.predictions, shifts=shifts)))
    return "\n\n".join(filter(None, parts))


def put_into(path: Path, text: str) -> None:
    """Replace what stands between the two marks of a file, whole or not at all."""
    path = path.resolve()  # a link stays one
    try:
        whole = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{path}: is not text in UTF-8 ({error}); give a text file") from error
    if whole.count(BEGIN) != 1 or whole.count(END) != 1 or whole.index(BEGIN) > whole.index(END):
        raise ArgumentError(
            f"{path}: has not one line '{BEGIN}' and one '{END}' below it; add them"
        )
    before, rest = whole.split(BEGIN)
    _, after = rest.split(END)
    with atomic_output(path, overwrite=True) as partial:
        partial.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
        partial.chmod(path.stat().st_mode)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, judge, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("tables", nargs="+", type=Path, metavar="TABLE.parquet")
    parser.add_argument(
        "--validation",
        type=Path,
        action="append",
        default=[],
        metavar="TABLE.parquet",
        help="scores of 'skiptool predict --split fold --sweep paper', or distances of the stores "
        "of 'skiptool features --split fold', for the forecast",
    )
    parser.add_argument("--into", type=Path, help="file with the two marks")
    given = parser.parse_args(arguments)
    try:
        text = everything(given.tables, given.validation)
        if given.into is not None:
            put_into(given.into, text)
    except (SkiptoolError, OSError) as error:
        print(f"claims: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
