"""Check what the paper says of its synthetic experiment against tables of such an experiment.

Usage: python examples/claims.py TABLE.parquet... [--validation TABLE.parquet] [--into README.md]

Takes tables of 'skiptool predict' (of --sweep paper, and with --clean-skips) and of 'skiptool
hellinger' (brightness 0.75 against the original), in any mixture, and prints one Markdown table,
a row for each claim, a column for each encoder; below it the IoU by clean part, and with
--validation the errors of the forecast. --into also writes all of it between the two lines
'<!-- claims -->' and '<!-- /claims -->' of a file. examples/paper_synthetic.sh calls this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from claim_measures import (
    Measuring,
    against,
    along_encoder,
    brightness_is_worst,
    first_and_last,
    first_is_highest,
    greatest_fall,
    larger_has_lower_distance,
    larger_is_better,
    larger_is_nearer,
    smallest_step,
    uppermost_carries,
)
from evidence import Evidence
from further_tables import forecast_table, substitution_table

from skiptool.errors import ArgumentError, SkiptoolError
from skiptool.readings.difference import RESAMPLES
from skiptool.steps.report.inputs import read_inputs
from skiptool.stores.staging import staged

BEGIN, END = "<!-- claims -->", "<!-- /claims -->"
MARGIN: Final = 0.01
RULE = """\
*Agrees* or *disagrees* only where the 95 % interval lies wholly on one side of the threshold and
every fold by itself does too; else *not decided*. IoU: of cells, summed over images, folds
averaged; intervals by resampling images {resamples:,} times, the same ones for all networks.
Distances: corrected for bias, intervals by jackknife over images. {scale}"""


@dataclass(frozen=True)
class Claim:
    """What the paper says, what is measured of it, and how that is judged."""

    says: str
    measured: str
    measure: Measuring
    least: float = 0.0
    most: float = np.inf
    across: bool = False  # a comparison of the two encoders


CLAIMS = (
    Claim(
        "Brightness is the worst shift (V.A)",
        "mean loss of the baseline's IoU under brightness minus the worse of the other two; > 0",
        brightness_is_worst,
    ),
    Claim(
        "IoU falls by up to almost 80 % (V.A)",
        "greatest relative fall of any network under any shift; 0.70 to 0.80",
        greatest_fall,
        0.7,
        0.8,
    ),
    Claim(
        "L1 is not below the baseline in domain (V.A, VI)",
        f"IoU of L1-pruned minus baseline, original images; > \N{MINUS SIGN}{MARGIN}",
        against("L1-pruned", "baseline"),
        -MARGIN,
    ),
    Claim(
        "... but better",
        "the same; > 0",
        against("L1-pruned", "baseline"),
    ),
    Claim(
        "L1 is not below the baseline under shift (V.A, VI)",
        f"the same, mean over all shifts; > \N{MINUS SIGN}{MARGIN}",
        against("L1-pruned", "baseline", shifted=True),
        -MARGIN,
    ),
    Claim(
        "... but better",
        "the same; > 0",
        against("L1-pruned", "baseline", shifted=True),
    ),
    Claim(
        "L4 is below the baseline in domain (V.A, V.B)",
        "IoU of baseline minus L4-pruned, original images; > 0",
        against("baseline", "L4-pruned"),
    ),
    Claim(
        "The distance is highest at the first encoder level (V.A, Fig. 8)",
        "enc1 minus the highest of enc2 to enc5, baseline, brightness 0.75; > 0",
        along_encoder(first_is_highest),
    ),
    Claim(
        "... and lower at the bottleneck",
        "enc1 minus enc5; > 0",
        along_encoder(first_and_last),
    ),
    Claim(
        "... to which it falls gradually",
        "the smallest of the four steps down from enc1 to enc5; > 0",
        along_encoder(smallest_step),
    ),
    Claim(
        "ResNet34's pruned networks bear the shift better (V.A)",
        "IoU of ResNet34 minus ResNet18 at brightness 0.75, mean over L2 to L4; > 0",
        larger_is_better,
        across=True,
    ),
    Claim(
        "ResNet34's pruned networks differ less from the baseline (V.A)",
        "mean difference in IoU to the baseline at brightness 0.75, ResNet18 minus ResNet34; > 0",
        larger_is_nearer,
        across=True,
    ),
    Claim(
        "ResNet34's pruned networks have lower distances (V.A, Fig. 8)",
        "mean distance of enc1 to dec0, L2 to L4, ResNet18 minus ResNet34; > 0",
        larger_has_lower_distance,
        across=True,
    ),
    Claim(
        "Not measured in the paper: the uppermost skip carries the shift into the decoder",
        "baseline, brightness: IoU with clean L1 minus the best of L2, L3, L4, bottleneck; > 0; "
        "then by shift",
        uppermost_carries,
    ),
)


def table_of(evidence: Evidence) -> str:
    """Lay all claims out as Markdown."""
    sizes = list(dict.fromkeys((*(each.encoder for each in evidence.networks), *_sizes(evidence))))
    lines = [
        f"| The paper | Measured; threshold | {' | '.join(sizes)} |",
        f"|---|---|{'---|' * len(sizes)}",
    ]
    for claim in CLAIMS:
        cells = [_cell(claim, evidence, size) for size in sizes]
        if claim.across:  # said once, of both
            cells = ["" for _ in sizes[1:]] + cells[-1:]
        lines.append(f"| {claim.says} | {claim.measured} | {' | '.join(cells)} |")
    return "\n".join([RULE.format(resamples=RESAMPLES, scale=_scale(evidence)), "", *lines])


def _sizes(evidence: Evidence) -> list[str]:
    return [encoder for encoder, _, _ in evidence.distances]


def _cell(claim: Claim, evidence: Evidence, encoder: str) -> str:
    found = claim.measure(evidence, encoder)
    if found is None:
        return "not measured"
    verdict = found.verdict(claim.least, claim.most)
    folds = f"; folds {found.by_fold}" if verdict == "not decided" else ""
    return f"**{verdict}**: {found}{folds}"


def _scale(evidence: Evidence) -> str:
    """Say what the numbers rest on."""
    if evidence.counts is None:
        return "No predictions."
    folds: dict[str, set[int | None]] = {}
    for network in evidence.networks:
        folds.setdefault(network.encoder, set()).update(evidence.counts.networks[network].folds)
    each = ", ".join(f"{encoder} {len(found)}" for encoder, found in folds.items())
    return f"{len(evidence.counts.subjects)} test images; folds: {each}."


def everything(tables: Sequence[Path], validation: Sequence[Path], seed: int) -> str:
    """Return the claims, then what else the tables say, one below the other."""
    inputs = read_inputs(tables)
    evidence = Evidence(inputs, seed)
    parts = [table_of(evidence), substitution_table(evidence)]
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
    with staged(path, overwrite=True) as partial:
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
    parser.add_argument("--seed", type=int, default=0, help="of the resamples, 0 or more")
    given = parser.parse_args(arguments)
    if given.seed < 0:
        parser.error(f"argument --seed: {given.seed} is below 0; give 0 or more")
    try:
        text = everything(given.tables, given.validation, given.seed)
        if given.into is not None:
            put_into(given.into, text)
    except (SkiptoolError, OSError) as error:
        print(f"claims: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
