from __future__ import annotations

from matplotlib.figure import Figure

from skiptool.analysis.distances import read_distances
from skiptool.figures.decoder_inputs import DecoderInputs
from skiptool.figures.shifts import comparisons
from skiptool.names import DECODER_INPUTS
from small_shifts import Layer, layer, tables

KEPT = {"baseline": 0, "L1-pruned": 1, "L4-pruned": 4}
VALUES = {"dec4.from_below": 0.2, "dec4.from_skip": 0.1, "dec1.from_below": 0.3}
VALUES |= {"dec1.from_skip": 0.7, "dec0.from_below": 0.4, "dec2.from_skip": 0.31}
VALUES |= {"dec2.from_below": 0.3}


def of_network(pruning: str, encoder: str = "resnet18") -> list[Layer]:
    """Rows of what the decoder of a network is given, of its input and of one layer."""
    facts = {"pruning": pruning, "encoder": encoder}
    facts |= {"reference_id": f"r {pruning} {encoder}", "other_id": f"o {pruning} {encoder}"}
    there = {
        name: value
        for name, value in VALUES.items()
        if name.endswith("below") or int(name[3]) > KEPT[pruning]
    }
    return [
        layer(name, [value], value, **facts, ci_low=value - 0.02, ci_high=value + 0.02)
        for name, value in {"input": 0.8, "enc1": 0.6, **there}.items()
    ]


def drawn(*layers: Layer) -> DecoderInputs:
    (found,) = [one for one in comparisons(*tables(*layers)) if isinstance(one, DecoderInputs)]
    return found


def test_both_sides_of_every_block() -> None:
    found = drawn(*of_network("baseline"), *of_network("L4-pruned"))
    table = found.table().columns
    assert table["block"] == ["dec4", "dec2", "dec1", "dec0"]
    assert table["resnet18 baseline by skip connections"] == [0.1, 0.31, 0.7, None]
    assert table["resnet18 L4-pruned from below"] == [0.2, 0.3, 0.3, 0.4]
    assert "resnet18 L4-pruned by skip connections" not in table
    assert "the layers below contribute, before the normalisation" in found.caption


def test_every_number_says_what_it_is_of() -> None:
    found = drawn(*of_network("baseline"), *of_network("L1-pruned"))
    numbers = {(row["pruning"], row["layer"]): row for row in found.numbers()}
    assert len(numbers) == 7 + 6
    assert {layer for _, layer in numbers} == set(VALUES) <= set(DECODER_INPUTS)
    one = numbers["baseline", "dec1.from_skip"]
    assert (one["quantity"], one["value"], one["ci_high"]) == ("distance", 0.7, 0.72)


def test_sentences_go_by_the_intervals() -> None:
    told = drawn(*of_network("baseline"), *of_network("L4-pruned")).sentences()
    assert told == (
        "resnet18 baseline: farther away by the skip connection than from below at dec1 (0.700 "
        "against 0.300); nearer at dec4 (0.100 against 0.200); intervals overlap at dec2.",
    )


def test_two_panels_an_encoder() -> None:
    rows = [*of_network("baseline"), *of_network("L1-pruned"), *of_network("baseline", "resnet34")]
    figure = drawn(*rows).draw()
    assert isinstance(figure, Figure)
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 4
    dots = [[line for line in axes.lines if line.get_marker() == "o"] for axes in panels]
    assert [len(each) for each in dots] == [2, 2, 1, 1]
    skips = {tuple(line.get_ydata()) for line in dots[0]}
    assert skips == {(0.1, 0.31, 0.7), (0.1, 0.31)}


def test_they_stay_out_of_the_curves_along_the_network() -> None:
    rows = of_network("baseline")
    others = [one for one in comparisons(*tables(*rows)) if not isinstance(one, DecoderInputs)]
    assert {number["layer"] for one in others for number in one.numbers()} == {"input", "enc1"}
    (compared,) = read_distances(*tables(*rows))
    assert set(VALUES) < set(compared.layers)


def test_alone_they_are_all_that_is_shown() -> None:
    rows = [row for row in of_network("baseline") if row[0]["layer"] in VALUES]
    assert [one.topic for one in comparisons(*tables(*rows))] == ["decoder-inputs"]
