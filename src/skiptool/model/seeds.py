"""Random streams: each use of chance in training draws from its own, so none disturbs another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch

__all__ = ["Stream", "generator", "seeded", "torch_seed"]


class Stream(IntEnum):
    """What the numbers are drawn for; the first word of every seed."""

    WEIGHTS = 1
    SHUFFLE = 2
    AUGMENT = 3
    TRAINING = 4


def generator(stream: Stream, *numbers: int) -> np.random.Generator:
    """Return the generator of a stream at ``numbers`` (seed, epoch, index ...).

    Examples
    --------
    >>> generator(Stream.SHUFFLE, 0, 3).permutation(4).tolist()
    [1, 2, 3, 0]
    """
    return np.random.default_rng([stream, *numbers])


def torch_seed(stream: Stream, *numbers: int) -> int:
    """Hash a stream and its numbers into a seed of 64 bits for torch."""
    return int(np.random.SeedSequence([stream, *numbers]).generate_state(1, np.uint64)[0])


@contextmanager
def seeded(stream: Stream, *numbers: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the context and give its old state back after it.

    Generators of other devices are left alone.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(torch_seed(stream, *numbers))
    try:
        yield
    finally:
        torch.set_rng_state(state)
