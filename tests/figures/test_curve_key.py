from __future__ import annotations

from itertools import combinations

from matplotlib.figure import Figure

from skiptool.figures.curve_key import curve_key, stairs
from skiptool.figures.style import TWO_COLUMNS, drawing
from training_cases import run

SUBSETS = ["skips-" + "+".join(levels) for k in (1, 2, 3) for levels in combinations("1234", k)]


def test_every_subset_of_the_skip_connections_has_a_pen_of_its_own() -> None:
    """There are sixteen, and eleven colours."""
    prunings = ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]
    others = [name for name in SUBSETS if name not in ("skips-2+3+4", "skips-3+4", "skips-4")]
    pens = curve_key([run(pruning=name) for name in prunings + others], 7.0, 0.5).pens
    assert list(pens)[:5] == prunings
    assert len(pens) == len(set(pens.values())) == 16
    assert len({pen.colour for pen in pens.values()}) == 11


def test_only_what_is_drawn_is_explained() -> None:
    def told(*runs: object) -> list[str]:
        key = curve_key(runs, 7.0, 0.5)  # type: ignore[arg-type]
        return [str(handle.get_label()) for handle in key.kinds]

    assert told(run()) == ["training loss", "weights kept"]
    assert told(run(), run(fold=1))[:2] == ["mean over trainings", "one training"]
    assert told(run(), run(encoder="x"), run(pruning="L1-pruned"))[0] == "training loss"
    assert told(run(epochs=4, fall=2))[-1] == "learning rate falls"
    assert told(run(miou=[None])) == ["training loss"]


def test_a_rate_that_falls_all_the_time_has_no_stairs() -> None:
    assert stairs([run(epochs=30, fall=10), run(epochs=30, fall=15)]) == [10, 15, 20]
    assert stairs([run(epochs=30, fall=1)]) == []


def test_the_legend_takes_the_height_it_says(labels: object) -> None:
    runs = [run(pruning=f"{name} of a long name") for name in SUBSETS]
    key = curve_key(runs, TWO_COLUMNS, 0.5)
    with drawing():
        figure = Figure(figsize=(TWO_COLUMNS, 3.0))
        key.draw(figure)
    texts = labels(figure)  # type: ignore[operator]
    assert len(texts) == len(SUBSETS) + 2
    tops = [each.get_window_extent().y1 / figure.dpi for each in figure.legends]
    assert 0.8 * key.height < max(tops) < key.height + 0.06
