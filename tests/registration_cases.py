"""Rows of registration tables for tests, made up."""

from __future__ import annotations

from typing import Any

__all__ = ["FAR", "OFF", "table"]

FAR, OFF = "residual above 2 px", "outside of the scan"

_NAMES = (
    *("subject", "slide", "reference_domain", "domain", "sample"),
    *("residual", "residual_um", "kept", "reason"),
)


def table(*rows: tuple[Any, ...]) -> dict[str, list[Any]]:
    """Return rows as columns: subject, slide, reference, domain, sample, residuals, kept, why."""
    return {name: [row[place] for row in rows] for place, name in enumerate(_NAMES)}
