from __future__ import annotations

from dataclasses import replace

from skiptool.figures.forecast_words import caption_of, measure_name, network_name, sentences_of
from skiptool.readings.forecast import fit_losses
from sweeps import sweep


def test_names() -> None:
    found = fit_losses(*sweep(encoder="resnet50"))[0]
    assert network_name(found) == f"resnet50 {found.pruning}"
    plain = replace(found, kin=found.kin._replace(encoder="", arch="", metric="kl"), pruning="")
    assert network_name(plain) == "networks"
    assert measure_name(plain) == "Kullback-Leibler divergence"


def test_what_was_left_out_is_told() -> None:
    found = fit_losses(*sweep())[0]
    assert "Left out" not in caption_of(found)
    layer = found.layers[found.layer]
    lost = replace(found, left_out=3)
    assert f"Left out: 3 comparisons not measured at {layer}." in caption_of(lost)
    assert len(sentences_of(found)) == 1


def test_kinds_that_the_fit_does_not_meet_are_named() -> None:
    found = fit_losses(*sweep())[0]
    first, *others = found.crossed.held
    worse = first._replace(error=first.error_of_mean)
    crossed = found.crossed._replace(held=(worse, *others))
    _, told = sentences_of(replace(found, crossed=crossed))
    assert told == "On brightness alone it is no better than the mean."
