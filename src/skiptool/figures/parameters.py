"""Table II: number of trainable parameters, prunings down and encoders across."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skiptool.figures.style import in_paper_order
from skiptool.records import Table, family

if TYPE_CHECKING:
    from skiptool.figures.exhibit import Number, Shown

__all__ = ["ParameterCounts", "parameter_exhibit", "parameter_table"]


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """Table II of the networks that were measured.

    Attributes
    ----------
    counts : mapping of (arch, encoder, pruning) to int
        Trainable parameters.
    """

    counts: Mapping[tuple[str, str, str], int]
    topic: str = "parameters"
    heading: str = "Parameters"
    title: str = "Trainable parameters"
    caption: str = (
        "Trainable parameters of each network (Table II of the paper): for each pruned level a "
        "U-net loses the skip's input channels of one convolution and nothing else."
    )

    def draw(self) -> None:
        """Return nothing: the table is all there is."""

    def table(self) -> Table:
        """Return the counts, see :func:`parameter_table`."""
        named = {(family(arch, encoder), p): n for (arch, encoder, p), n in self.counts.items()}
        return parameter_table(named)

    def numbers(self) -> list[Number]:
        """Return a row for each network."""
        return [
            {
                **{"quantity": "parameters", "arch": arch, "encoder": encoder, "pruning": pruning},
                "value": count,
            }
            for (arch, encoder, pruning), count in self.counts.items()
        ]

    def sentences(self) -> tuple[str, ...]:
        """Say for each family how many parameters go with its skip connections, at most."""
        found = []
        for name in dict.fromkeys(family(arch, encoder) for arch, encoder, _ in self.counts):
            counts = {p: n for (a, e, p), n in self.counts.items() if family(a, e) == name}
            whole = counts.get("baseline")
            if whole is None or len(counts) < 2:
                continue
            least = min(counts, key=counts.__getitem__)
            if counts[least] < whole:
                share = 100.0 * (whole - counts[least]) / whole
                found.append(f"{name}: {least} has {share:.1f} % fewer parameters than baseline.")
        return tuple(found)


def parameter_exhibit(counts: Mapping[tuple[str, str, str], int]) -> list[Shown]:
    """Make Table II of parameter counts.

    Parameters
    ----------
    counts : mapping of (arch, encoder, pruning) to int
        Trainable parameters of each network.

    Returns
    -------
    list of Shown
        One exhibit; none without networks.
    """
    return [ParameterCounts(dict(counts))] if counts else []


def parameter_table(counts: Mapping[tuple[str, str], int]) -> Table:
    """Lay parameter counts out as in Table II.

    Parameters
    ----------
    counts : mapping of (encoder, pruning) to int
        Trainable parameters of each network; encoders, with the architecture in front where it
        is not ``unet``, stand in the order of their first appearance, prunings in the paper's.

    Returns
    -------
    Table
        Column ``architecture``, then one an encoder; None where a network is not there.

    Examples
    --------
    >>> table = parameter_table(
    ...     {("resnet18", "L1-pruned"): 14_309_922, ("resnet18", "baseline"): 14_328_354}
    ... )
    >>> table.columns["architecture"], table.columns["resnet18"]
    (['baseline', 'L1-pruned'], [14328354, 14309922])
    """
    prunings = in_paper_order(pruning for _, pruning in counts)
    columns: dict[str, list[str | int | float | None]] = {"architecture": [*prunings]}
    for encoder in dict.fromkeys(encoder for encoder, _ in counts):
        columns[encoder] = [counts.get((encoder, pruning)) for pruning in prunings]
    return Table("Trainable parameters", columns)
