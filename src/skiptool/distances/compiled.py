"""Compiling inner loops with numba, and keeping what was compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from skiptool.errors import ArgumentError

try:
    from numba import njit
except ValueError as error:  # of a variable that it reads when it is loaded
    raise ArgumentError(
        f"numba cannot be loaded ({error}); unset NUMBA_NUM_THREADS, or set it to 1 or more"
    ) from error

__all__ = ["compiled", "inlined"]

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"reassoc"},  # so that sums become vector instructions; NaN and infinity hold
    "error_model": "numpy",  # x / 0 is infinite or NaN: loops without a way out are shorter
}


def compiled(function: F) -> F:
    """Compile a function of arrays on its first call, without the GIL, and cache it on disk.

    The cache lies beside the installed file, or in the user's cache folder where that may not be
    written. Where neither may (read-only installations on clusters), numba refuses to cache: then
    each process compiles for itself. ``NUMBA_CACHE_DIR`` names another place.
    """
    try:
        return cast("F", njit(cache=True, **_OPTIONS)(function))
    except RuntimeError:  # numba: "no locator available"
        return cast("F", njit(**_OPTIONS)(function))


def inlined(function: F) -> F:
    """Put the statements of a function into every compiled function that calls it.

    For parts of inner loops. Compiled by itself, each would be optimized, turned into machine code
    for callers in Python and cached, and then be optimized again within its caller: more than
    half of a first start. It must stand in its caller's file, as numba's cache watches only that.
    Called from Python, it is compiled alone (for tests).
    """
    return cast("F", njit(inline="always", **_OPTIONS)(function))
