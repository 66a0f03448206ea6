from __future__ import annotations

import torch

from skiptool.model.layouts import fitted, prefixes


def zeros(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2) for name in names}


def test_a_classifier_is_left_out_and_a_deeper_network_is_not() -> None:
    target = zeros("conv1.weight", "layer1.0.weight", "layer1.1.weight")
    chosen, faults = fitted(target | zeros("fc.weight", "head.0.weight", "head.1.weight"), target)
    assert (chosen.keys(), faults) == (target.keys(), [])
    _, faults = fitted(target | zeros("layer1.2.weight"), target)
    assert faults == ["tensor layer1.2.weight has no place in it"]


def test_names_behind_a_prefix() -> None:
    target = zeros("conv1.weight", "layer1.0.weight")
    theirs = {f"encoder.{name}": tensor for name, tensor in target.items()}
    whole = theirs | zeros("decoder.blocks.0.weight", "layer1.7.weight")
    assert prefixes(whole, target) == {"encoder.": "encoder."}
    chosen, faults = fitted(whole, target, "encoder.")
    assert (chosen.keys(), faults) == (target.keys(), [])
    _, faults = fitted(theirs | zeros("encoder.layer1.1.weight"), target, "encoder.")
    assert faults == ["tensor encoder.layer1.1.weight has no place in it"]


def test_what_is_missing_or_of_another_shape() -> None:
    target = {**zeros("a.weight", "b.weight", "b.num_batches_tracked")}
    _, faults = fitted({"a.weight": torch.zeros(3)}, target)
    assert faults == [
        "tensor a.weight has shape (3,), expected (2,)",
        "tensor b.weight is missing",
    ]
