"""Training runs for tests, made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skiptool.analysis.training import Run, read_run

__all__ = ["history", "run"]


def history(
    *,
    epochs: int = 1,
    fall: int | None = None,
    miou: Sequence[float | None] | None = None,
    scale: float = 1.0,
    **facts: Any,  # noqa: ANN401 - facts of any type
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return facts and columns of a run: mIoU rises, loss falls, the rate each ``fall`` epochs."""
    mious = [1.0 - 0.75 / (1 + epoch) for epoch in range(epochs)] if miou is None else list(miou)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("epoch", "split", "loss", "mIoU", "lr", "seconds")
    }
    for epoch, value in enumerate(mious):
        lr = 1e-4 if fall is None else 1e-4 * 0.5 ** (epoch // fall)
        for split, loss in (("train", 1.0 / (1 + epoch)), ("validation", 1.5 / (1 + epoch))):
            row = (epoch, split, scale * loss, value, lr, 2.0)
            for name, cell in zip(columns, row, strict=True):
                columns[name].append(cell)
    known = {"arch": "unet", "encoder": "resnet18", "pruning": "baseline", "fold": 0, **facts}
    return known, columns


def run(**facts: Any) -> Run:  # noqa: ANN401 - see `history`
    """Return the run of a :func:`history`."""
    found = read_run(*history(**facts))
    if found is None:
        raise ValueError("a run without an epoch")
    return found
