from __future__ import annotations

from dataclasses import replace

from skiptool.analysis.forecast import fit_losses
from skiptool.figures.forecast_words import caption_of, measure_name, network_name, sentences_of
from sweeps import sweep


def test_names() -> None:
    found = fit_losses(*sweep(encoder="resnet50"))[0]
    assert network_name(found) == f"resnet50 {found.pruning}"
    plain = replace(found, kin=found.kin._replace(encoder="", arch="", metric="kl"), pruning="")
    assert network_name(plain) == "networks"
    assert measure_name(plain) == "Kullback-Leibler divergence"


def test_what_was_left_out_is_told() -> None:
    found = fit_losses(*sweep())[0]
    layer = found.layers[found.layer]
    lost = replace(found, left_out=3, passed_over=("dec0", "head"), assumed=7)
    caption = caption_of(lost)
    for part in (
        f"No forecast for 3 comparisons without a corrected distance and its interval at {layer}.",
        "for want of a corrected distance under every shift: dec0, head.",
        "7 of 18 points come from shift tables that do not name one split; their images are "
        "assumed to be the test images.",
    ):
        assert part in caption
        assert part not in caption_of(found)
    assert len(sentences_of(found)) == 1
    assert sentences_of(lost)[1].startswith("No forecast for 3 comparisons without")


def test_kinds_that_the_fit_does_not_meet_are_named() -> None:
    found = fit_losses(*sweep())[0]
    first, *others = found.crossed.held
    worse = first._replace(error=first.error_of_mean)
    crossed = found.crossed._replace(held=(worse, *others))
    _, told = sentences_of(replace(found, crossed=crossed))
    assert told == "On brightness alone it is no better than the mean."
