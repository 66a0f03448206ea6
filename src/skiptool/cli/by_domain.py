"""Options whose value may differ from domain to domain: ``192`` or ``A=192``."""

from __future__ import annotations

from collections.abc import Sequence

from skiptool.cli.options import listed
from skiptool.errors import ArgumentError

__all__ = ["numbers", "pair", "words"]


def words(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read repeated ``VALUE`` or ``DOMAIN=VALUE``; the key of a value for all is empty.

    Raises
    ------
    ArgumentError
        If a value is missing, or there are two for one domain.

    Examples
    --------
    >>> words(["192", "B=320"], "--size")
    {'': '192', 'B': '320'}
    """
    found: dict[str, str] = {}
    for word in listed(given):
        domain, _, value = word.rpartition("=")
        if not value or domain in found:
            reason = "has no value" if not value else "a second value for the same"
            raise ArgumentError(f"{option} {word!r}: {reason}; write VALUE or DOMAIN=VALUE")
        found[domain.strip()] = value.strip()
    return found


def numbers(given: Sequence[str] | None, option: str) -> dict[str, int]:
    """Read repeated ``N`` or ``DOMAIN=N``, whole numbers.

    Raises
    ------
    ArgumentError
        As :func:`words`, or if a value is no whole number.
    """
    found: dict[str, int] = {}
    for domain, value in words(given, option).items():
        if not value.isdecimal():
            raise ArgumentError(
                f"{option} {value!r}: expected a whole number, such as 16, or DOMAIN=16"
            )
        found[domain] = int(value)
    return found


def pair(text: str | None, option: str) -> tuple[float, float] | None:
    """Read ``LOW,HIGH``.

    Raises
    ------
    ArgumentError
        If it is not of that form.

    Examples
    --------
    >>> pair("1,99.5", "--percentiles")
    (1.0, 99.5)
    """
    if text is None:
        return None
    low, _, high = text.partition(",")
    try:
        return float(low), float(high)
    except ValueError:
        raise ArgumentError(f"{option} {text!r}: expected LOW,HIGH, such as 1,99") from None
