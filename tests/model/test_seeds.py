from __future__ import annotations

import numpy as np
import torch

from skiptool.model.seeds import Stream, generator, seeded, torch_seed


def test_every_place_has_its_own_seed() -> None:
    seeds = [torch_seed(stream, a, b) for stream in Stream for a in range(6) for b in range(6)]
    assert len(set(seeds)) == len(seeds)


def test_the_same_place_gives_the_same_numbers() -> None:
    first = generator(Stream.AUGMENT, 1, 2, 3).random(4)
    np.testing.assert_array_equal(first, generator(Stream.AUGMENT, 1, 2, 3).random(4))


def test_seeded_gives_the_old_state_back_even_after_an_error() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    try:
        with seeded(Stream.WEIGHTS, 0):
            torch.rand(7)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.rand(3), expected)


def test_seeded_draws_do_not_depend_on_what_came_before() -> None:
    draws = []
    for state in (0, 1):
        torch.manual_seed(state)
        with seeded(Stream.WEIGHTS, 4):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
