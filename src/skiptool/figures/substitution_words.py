"""What skip substitution says in words: how it was made, how far it goes, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from skiptool.analysis.differences import PairedDifference
from skiptool.analysis.substitution import Substitution
from skiptool.figures.colour_scale import Scale
from skiptool.figures.paired_words import how_compared
from skiptool.figures.style import readable
from skiptool.figures.ties import tied_with
from skiptool.records import ORIGINAL, Shift

__all__ = ["about_regained", "about_substituted", "findings", "interval_below", "shift_words"]

_NOTHING: Final = 0.005  # what is below it is written as 0.00


def shift_words(shift: Shift) -> str:
    """Name a shift within a sentence.

    Examples
    --------
    >>> shift_words(Shift.parse("brightness=0.5"))
    'brightness 0.5'
    """
    return shift.kind.value if shift.factor is None else f"{shift.kind.value} {shift.factor:g}"


def interval_below(found: Substitution) -> str:
    """Write an interval as short as a cell needs: without the zeros before the points.

    Returns
    -------
    str
        ``.55, .63``; empty where there is no interval.
    """
    ends = (found.regained.ci_low, found.regained.ci_high)
    return "" if any(map(math.isnan, ends)) else ", ".join(map(_short, ends))


def _short(value: float) -> str:
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{text}" if value <= -_NOTHING else text


def about_substituted(found: Sequence[Substitution], measure: str) -> str:
    """Say what the matrix of IoU shows, and what substitution can and cannot say.

    Parameters
    ----------
    found : sequence of Substitution
        All of one exhibit.
    measure : str
        ``cell IoU``.
    """
    first = found[0].regained
    several = max(one.clean.trainings for one in found) > 1
    spread = ", standard deviation below it" if several else ""
    clean, rest = "the unshifted image of the same sample", "the shifted one (columns)"
    if found[0].clean_domain is not None:
        clean = f"the image of the same sample in domain {found[0].clean_domain}"
        rest = f"that in domain {first.domain} (columns)"
    return (
        f"{_capital(measure)} where the decoder is fed some feature maps (rows: skip connections, "
        "L1 the uppermost, or the deepest map of the encoder, the bottleneck) as the network "
        f"computes them from {clean}, all others from {rest}. From confusion counts accumulated "
        f"over the {first.split} samples of {first.dataset} (n = {_subjects(found)}); "
        f"{_averaged(found)}{spread}. Nothing "
        "clean: the plain prediction. This is an intervention (activation patching). One part "
        "clean that brings the IoU back is enough to do so; whether it carries the shift alone, "
        "only its reverse says, in which that part alone is shifted (predict --shifted-skips). "
        "Limits: the decoder is fed a mixture that it never saw in training, and a network that "
        "is trained without the connection may behave otherwise."
    )


def about_regained(found: Sequence[Substitution], measure: str, level: float, scale: Scale) -> str:
    """Say what the matrix of regained IoU shows, what its intervals are of, how it was tested.

    Parameters
    ----------
    found : sequence of Substitution
        All of one exhibit.
    measure : str
    level : float
        Of the intervals.
    scale : Scale
        Of the colours.
    """
    first = found[0].regained
    low, _, high = map(scale.written, scale.ticks)
    text = (
        f"{_capital(measure)} with clean inputs of the decoder (rows) minus that of the plain "
        "prediction by the same network under the same shift, over the same "
        f"{first.split} subjects of {first.dataset}; {_averaged(found)}. Blue: regained, red: "
        f"lost. The colours end at {low} and {high}, the greatest difference. "
    )
    gains = [one.regained for one in found]
    if max(gain.subjects for gain in gains) > 1:
        text += "Below a value, where cells have room: its interval, zeros before the points left "
        text += "out. "
    return text + how_compared(gains, level)


def _subjects(found: Sequence[Substitution]) -> str:
    counts = sorted({one.regained.subjects for one in found})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} subjects"
    return f"{counts[0]} subject{'s'[: counts[0] - 1]}"


def _capital(measure: str) -> str:
    return f"{measure[0].upper()}{measure[1:]}"


def _averaged(found: Sequence[Substitution]) -> str:
    trainings = max(one.clean.trainings for one in found)
    return f"mean over {trainings} trainings" if trainings > 1 else "one training"


def findings(networks: Mapping[str, Sequence[Substitution]]) -> tuple[str, ...]:
    """Say of each network what brings it back where it is worst, and where one part alone does.

    Parameters
    ----------
    networks : mapping of str to sequence of Substitution
        By name, in the order to tell them in.

    Returns
    -------
    tuple of str
        One or two a network: under the shift of lowest plain IoU of those that were substituted,
        and under that where a single clean input regains most, if it is another.
    """
    sentences = []
    for name, found in networks.items():
        known = [one for one in found if not math.isnan(one.regained.value)]
        if not known:
            continue
        worst = min(known, key=lambda one: one.plain.value)
        several = len({one.regained.shift for one in known}) > 1
        told = {worst.regained.shift: _why_worst(worst) if several else ""}
        alone = [one for one in known if len(one.parts) == 1]
        if alone:
            most = max(alone, key=lambda one: one.regained.value).regained.shift
            told.setdefault(most, _why_most(most, alone))
        head = f"{readable(name, limit=64)} ({_averaged(known)})"
        for shift, why in told.items():
            here = [one for one in known if one.regained.shift == shift]
            sentences.append(f"{head}: {_where(here[0])}{why} {_told(here)}.")
    return tuple(sentences)


def _why_worst(worst: Substitution) -> str:
    shift, value = worst.lowest
    if shift == worst.regained.shift:
        return ", where its IoU is lowest,"
    return (
        ", where its IoU is lowest of the shifts that were substituted (lowest of all: "
        f"{value:.2f} under {shift_words(shift)}),"
    )


def _why_most(most: Shift, alone: Sequence[Substitution]) -> str:
    """Say that one part alone regains most there, with the other shifts where it is as much."""
    best: dict[Shift, float] = {}
    for one in alone:
        shift = one.regained.shift
        best[shift] = max(one.regained.value, best.get(shift, -math.inf))
    shifts = [*best]
    others = [shifts[at] for at in tied_with(shifts.index(most), [*best.values()])]
    also = f" (as under {', '.join(map(shift_words, others))})" if others else ""
    return f", where one alone regains most{also},"


def _where(one: Substitution) -> str:
    under = f"under {shift_words(one.regained.shift)}"
    if one.clean_domain is None:
        return under
    domain = f"in domain {readable(one.regained.domain, limit=64)}"
    return domain if one.regained.shift == ORIGINAL else f"{under} {domain}"


def _told(here: Sequence[Substitution]) -> str:
    """Tell the best single input under one shift, the others, all together, and the reverse."""
    alone = [one for one in here if len(one.parts) == 1]
    best = max(alone or here, key=lambda one: one.regained.value)
    if best.regained.value >= _NOTHING:
        text = _regained(best, alone)
    elif best.original is not None and best.original.value - best.plain.value < _NOTHING:
        text = f"it is {best.plain.value:.2f}, so nothing is lost that could be regained"
    else:
        text = _nothing_regained(best, alone)
    by_label = {one.label: one for one in here if one is not best}
    if "all skips" in by_label:
        text += f"; with all skips clean it is {by_label['all skips'].clean.value:.2f}"
    text += _reverse(here)
    original = best.original
    if original is None or math.isnan(original.value):
        return text
    clean = best.clean_domain
    where = "without a shift" if clean is None else f"in domain {readable(clean, limit=64)}"
    return f"{text}; {where} {original.value:.2f}"


def _nothing_regained(best: Substitution, alone: Sequence[Substitution]) -> str:
    by = " by 0.01 or more" if best.regained.value > 0 else ""
    if not alone:
        none = "no choice of clean inputs"
    elif _all_tried(alone):
        none = "no clean feature map alone"
    else:
        names = ", ".join(readable(one.label) for one in sorted(alone, key=lambda one: one.order))
        none = f"no clean feature map of those tried alone ({names})"
    return f"{none} raises it{by} ({best.plain.value:.2f})"


def _regained(best: Substitution, alone: Sequence[Substitution]) -> str:
    name = readable(best.label)
    only = "alone"
    if best.shifted == ():
        only = "(all that its decoder is fed)"
    elif len(alone) == 1:
        only = "alone (the only one tried)"
    who = f"a clean {name} {only} brings" if alone else f"{name} clean bring"
    change = f"{_signed(best.regained.value)}{_ends(best.regained)}"
    text = f"{who} it from {best.plain.value:.2f} to {best.clean.value:.2f} ({change})"
    others = sorted((one for one in alone if one is not best), key=lambda one: -one.regained.value)
    tied = [one for one in others if _is_tied(one)]
    if tied:
        names = (f"{readable(one.label)} ({_signed(one.regained.value)})" for one in tied)
        text += f", not told apart from {', '.join(names)}"
    rest = [one.regained.value for one in others if one not in tied]
    if rest:
        most = max(rest)
        limit = f"more than {math.ceil(100 * most - 1e-9) / 100:.2f}" if most > 0 else "anything"
        text += f"; nothing else {'' if _all_tried(alone) else 'tried '}alone regains {limit}"
    return text


def _all_tried(alone: Sequence[Substitution]) -> bool:
    """Whether each input of the decoder was clean alone, as far as the network's label tells."""
    rest = alone[0].shifted
    return rest is not None and {one.parts[0] for one in alone} >= {*alone[0].parts, *rest}


def _is_tied(one: Substitution) -> bool:
    """Whether its difference to the best is 0 to two digits, or its interval reaches 0."""
    behind = one.behind
    if behind is None:
        return False
    return round(behind.value, 2) == 0 or behind.ci_low <= 0 <= behind.ci_high


def _reverse(here: Sequence[Substitution]) -> str:
    """Tell what each input costs where it alone is shifted, the costliest first."""
    found = [one for one in here if one.shifted is not None and len(one.shifted) == 1]
    if not any(one.label.startswith("all but") for one in found):
        return ""
    parts = []
    for one in sorted(found, key=lambda one: one.clean.value):
        name = one.label.removeprefix("all but ") if one.label != "all skips" else "bottleneck"
        lost = one.lost
        change = "" if lost is None else f" ({_signed(lost.value)}{_ends(lost)})"
        parts.append(f"{readable(name)} takes it to {one.clean.value:.2f}{change}")
    return f"; shifted alone, {', '.join(parts)}"


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _ends(found: PairedDifference) -> str:
    if math.isnan(found.ci_low):
        return ""
    low, high = (_signed(end).removeprefix("+") for end in (found.ci_low, found.ci_high))
    return f" [{low}, {high}]"
