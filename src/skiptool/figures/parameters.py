"""Table II: number of trainable parameters, prunings down and encoders across."""

from __future__ import annotations

from collections.abc import Mapping

from skiptool.figures.style import in_paper_order
from skiptool.records import Table

__all__ = ["parameter_table"]


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
