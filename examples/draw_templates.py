"""Draw the built-in templates: a Giemsa-stained thin blood smear under oil immersion.

Usage: python examples/draw_templates.py FOLDER

The light that a stained object lets through falls off exponentially with the amount of stain
(Beer and Lambert). So a picture is drawn as amounts of a few stains, each a smooth field over the
pixels, and one line turns them into colour: light = background * exp(-sum amount * absorbance).
Sizes are pixels at the scale of BBBC041 (a red cell is about 105 px, an infected one 120 to 145).
The PNG files that skiptool ships are what `draw_templates` draws with seed 0.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from skiptool.sources.smear.templates import Template, Templates, save_templates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from skiptool.records import Float64, UInt8

# -------------------------------------------------------------------------------------------------
# Smooth fields that drawings are made of: noise, soft discs, grains. Coordinates in pixels.
#
# Fields are float64 (side, side), their origin the middle of the square, rows down and columns to
# the right. A soft edge runs from 0 to 1 over the stated width.


_HARMONICS = 7
_REACH = 4.0


def axes(side: int) -> tuple[Float64, Float64]:
    """Row and column of each pixel, from the middle: (side, 1) and (1, side)."""
    line = np.arange(side, dtype=np.float64) - (side - 1) / 2
    return line[:, None], line[None, :]


def noise(side: int, width: float, rng: np.random.Generator) -> Float64:
    """Gaussian noise of mean 0 and standard deviation 1, smooth over ``width`` pixels.

    Wraps around at the borders.
    """
    white = rng.standard_normal((side, side))
    smooth = ndimage.gaussian_filter(white, width, mode="wrap", truncate=_REACH)
    field: Float64 = (smooth - smooth.mean()) / smooth.std()
    return field


def step(values: Float64, width: float) -> Float64:
    """Rise smoothly from 0 to 1 while the values go from ``-width / 2`` to ``width / 2``.

    Examples
    --------
    >>> step(np.array([-1.0, 0.0, 1.0]), 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    ramp = np.clip(values / width + 0.5, 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


def disc(
    side: int,
    centre: Sequence[float] | Float64,
    radius: float,
    edge: float,
    irregular: float,
    rng: np.random.Generator,
) -> Float64:
    """Draw a soft disc of irregular outline.

    Parameters
    ----------
    side : int
        Of the field.
    centre : (row, column)
        From the middle of the field.
    radius, edge : float
        Mean radius and width of the soft edge.
    irregular : float
        Standard deviation of the radius along the outline, as a share of the radius; made of the
        harmonics 2 to 7, weaker as they get finer.
    rng : np.random.Generator

    Returns
    -------
    float64, shape (side, side)
        1 inside, 0 outside.
    """
    rows, columns = axes(side)
    rows, columns = rows - centre[0], columns - centre[1]
    angle = np.arctan2(rows, columns)
    orders = np.arange(2, _HARMONICS + 1)
    strengths = rng.standard_normal((2, orders.size)) / orders
    strengths *= irregular / np.sqrt((1.0 / orders**2).sum())
    outline = np.ones_like(angle)
    for order, cosine, sine in zip(orders, *strengths, strict=True):
        outline += cosine * np.cos(order * angle) + sine * np.sin(order * angle)
    return step(radius * outline - np.hypot(rows, columns), edge)


def grains(
    where: Float64, count: int, sizes: tuple[float, float], rng: np.random.Generator
) -> Float64:
    """Strew ``count`` grains of radius ``sizes`` (least, most), denser where the field is higher.

    Returns
    -------
    float64, shape (side, side)
        1 within a grain, 0 outside, the grains run into one another where they touch.
    """
    side = len(where)
    reach = int(np.ceil(2 * sizes[1])) + 1
    chance = np.clip(where, 0.0, None).ravel() ** 2
    strewn = np.zeros((side + 2 * reach, side + 2 * reach))
    for spot in rng.choice(chance.size, size=count, p=chance / chance.sum()):
        row, column = divmod(int(spot), side)
        around = strewn[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        grain = disc(2 * reach + 1, (0.0, 0.0), rng.uniform(*sizes), 1.2, 0.22, rng)
        np.maximum(around, grain, out=around)
    return strewn[reach:-reach, reach:-reach]


_SIDE: Final = 176
"""Side of a drawn template in pixels."""

_BACKGROUND_SIDE: Final = 512

_LIGHT: Final = (221.0, 220.0, 213.0)
"""Colour of empty background: bright, yet far enough below 255 to be made brighter."""

_STAINS: Final = {
    "haemoglobin": (0.62, 0.63, 0.42),
    "cytoplasm": (0.55, 0.92, 0.26),
    "chromatin": (0.60, 1.75, 0.55),
    "eosin": (0.10, 0.46, 0.16),
    "pigment": (1.05, 1.35, 1.50),
    "dirt": (0.55, 0.62, 0.80),
}
"""Absorbance of a unit of each stain in red, green and blue."""

_FOCUS: Final = 1.3
"""Blur of the lens, pixels."""


def draw_templates(seed: int = 0) -> Templates:
    """Draw one background, three infected cells and three artifacts.

    Parameters
    ----------
    seed : int
        Same seed, same pictures; a template does not change when another is drawn differently.

    Returns
    -------
    Templates
        Background uint8 (512, 512, 3). Cells: a ring, an amoeboid trophozoite with pigment, a
        schizont. Artifacts: stain precipitate, a group of platelets, a smudged nucleus.
    """
    cells: Sequence[Callable[[np.random.Generator], Mapping[str, Float64]]]
    cells = (_ring_form, _trophozoite, _schizont)
    artifacts = (_precipitate, _platelets, _smudge)
    rng = iter(np.random.default_rng(seed).spawn(1 + len(cells) + len(artifacts)))
    return Templates(
        backgrounds=(_background(next(rng)),),
        cells=tuple(
            Template.from_picture(f"cell-{number}", _picture(draw, next(rng)))
            for number, draw in enumerate(cells, start=1)
        ),
        artifacts=tuple(
            Template.from_picture(f"artifact-{number}", _picture(draw, next(rng)), pieces=True)
            for number, draw in enumerate(artifacts, start=1)
        ),
    )


def _picture(
    draw: Callable[[np.random.Generator], Mapping[str, Float64]], rng: np.random.Generator
) -> UInt8:
    absorbed = np.zeros((_SIDE, _SIDE, 3))
    for stain, amount in draw(rng).items():
        uneven = 1 + 0.06 * noise(_SIDE, 1.5, rng) + 0.05 * noise(_SIDE, 4, rng)
        absorbed += (amount * uneven)[..., None] * np.array(_STAINS[stain])
    light = np.exp(-absorbed) * np.array(_LIGHT)
    return _expose(ndimage.gaussian_filter(light, (_FOCUS, _FOCUS, 0)), 2.6, 1.0, rng)


def _expose(light: Float64, strength: float, width: float, rng: np.random.Generator) -> UInt8:
    """Add camera noise, mostly the same in all channels, and round.

    BBBC041 measures a standard deviation of 2.4 to 4 grey levels over about 1 px.
    """
    grey = noise(len(light), width, rng)[..., None]
    colour = np.stack([noise(len(light), width, rng) for _ in range(3)], axis=-1)
    noisy = light + strength * (0.8 * grey + 0.6 * colour)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _background(rng: np.random.Generator) -> UInt8:
    """Uneven illumination, a faint film of stain, a few specks of dust out of focus."""
    side = _BACKGROUND_SIDE
    rows, columns = axes(side)
    centre = rng.uniform(-0.25, 0.25, 2) * side
    falloff = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / side**2
    absorbed = (0.15 * falloff + 0.006 * noise(side, 60, rng))[..., None] * np.ones(3)
    film = np.clip(noise(side, 22, rng) - 0.7, 0, None) * (1 + 0.3 * noise(side, 3, rng))
    absorbed += 0.05 * film[..., None] * np.array(_STAINS["eosin"])
    for _ in range(24):
        place = rng.uniform(-0.48, 0.48, 2) * side
        radius, amount = rng.uniform(0.8, 2.2), rng.uniform(0.05, 0.3)
        stain = _STAINS["dirt" if rng.random() < 0.5 else "eosin"]
        absorbed += amount * disc(side, place, radius, 1.5, 0.2, rng)[..., None] * np.array(stain)
    return _expose(np.exp(-absorbed) * np.array(_LIGHT), 2.0, 0.7, rng)


def _ring_form(rng: np.random.Generator) -> Mapping[str, Float64]:
    """Early stage: a ring of cytoplasm with a chromatin dot in a slightly enlarged cell."""
    body = _body(60, 0.012, rng)
    centre = np.array([-9.0, 10.0])
    outer = disc(_SIDE, centre, 23, 5.0, 0.05, rng)
    vacuole = disc(_SIDE, centre + np.array([-2.0, 2.0]), 14, 6.0, 0.07, rng)
    dot = disc(_SIDE, centre + np.array([13.0, -14.0]), 7.5, 3.0, 0.08, rng)
    return {
        "haemoglobin": body * (1 - 0.3 * outer),
        "cytoplasm": 0.8 * np.clip(outer - vacuole, 0, 1),
        "chromatin": 0.9 * dot,
        "eosin": 0.30 * body + _stippling(body - outer, 90, 0.35, rng),
    }


def _trophozoite(rng: np.random.Generator) -> Mapping[str, Float64]:
    """Late stage: amoeboid cytoplasm, vacuoles, pigment grains; the cell large and pale."""
    body = _body(69, 0.030, rng)
    spread = 0.8 * noise(_SIDE, 13, rng) + 0.5 * noise(_SIDE, 5, rng) + 1.2 - _away(4, -6) / 38
    amoeba = step(spread, 1.2) * body
    lobes = step(noise(_SIDE, 8, rng) + 0.4 * noise(_SIDE, 3, rng) - 0.3, 1.4) * amoeba
    nucleus = disc(_SIDE, (20.0, -20.0), 12, 5.0, 0.10, rng)
    inside = step(58 - _away(0, 0), 8) * (1 - nucleus)
    return {
        "haemoglobin": 0.45 * body,
        "cytoplasm": 0.18 * body + 0.35 * amoeba + 0.62 * lobes,
        "chromatin": 0.62 * nucleus,
        "eosin": 0.52 * body + _stippling(body - amoeba, 130, 0.4, rng),
        "pigment": 0.85 * grains(lobes * inside, 34, (1.5, 3.6), rng),
    }


def _schizont(rng: np.random.Generator) -> Mapping[str, Float64]:
    """Last stage: the cell full of merozoites around one clump of pigment."""
    body = _body(65, 0.025, rng)
    inside = disc(_SIDE, (1.0, 2.0), 54, 9.0, 0.03, rng)
    clump = disc(_SIDE, (3.0, -4.0), 9, 4.0, 0.1, rng)
    merozoites = np.zeros_like(body)
    nuclei = np.zeros_like(body)
    for number, reach in ((10, 42.0), (5, 23.0)):
        for turn in range(number):
            angle = 2 * np.pi * (turn + rng.uniform(-0.35, 0.35)) / number
            place = (reach + rng.uniform(-7, 7)) * np.array([np.sin(angle), np.cos(angle)])
            halo = disc(_SIDE, place, rng.uniform(10, 12), 6.0, 0.06, rng)
            merozoites = np.maximum(merozoites, halo)
            nuclei = np.maximum(nuclei, disc(_SIDE, place, rng.uniform(5, 7), 4.0, 0.10, rng))
    return {
        "haemoglobin": 0.45 * body,
        "cytoplasm": 0.15 * body
        + inside * (0.30 + 0.09 * noise(_SIDE, 6, rng))
        + 0.38 * merozoites,
        "chromatin": 0.60 * nuclei,
        "eosin": 0.35 * body,
        "pigment": 0.80 * grains(clump, 16, (2.0, 4.0), rng),
    }


def _precipitate(rng: np.random.Generator) -> Mapping[str, Float64]:
    """Stain that fell out: a clump of hard violet-black grains, no membrane."""
    reach = disc(_SIDE, (0.0, 0.0), 34, 36.0, 0.12, rng)
    coarse = grains(reach**2, 40, (2.0, 5.0), rng)
    fine = grains(reach, 110, (0.8, 2.2), rng)
    clump = np.maximum(coarse, 0.8 * fine)
    return {
        "chromatin": 0.75 * clump + 0.06 * reach,
        "pigment": 0.50 * clump,
        "cytoplasm": 0.4 * clump,
    }


def _platelets(rng: np.random.Generator) -> Mapping[str, Float64]:
    """Five platelets: pale fringed bodies with purple granules in their middle."""
    fringe = np.zeros((_SIDE, _SIDE))
    middle = np.zeros_like(fringe)
    for place in ((-22, -14), (-8, 17), (17, -19), (25, 15), (-36, 22)):
        centre = np.array(place) + rng.uniform(-3, 3, 2)
        size = rng.uniform(13, 18)
        fringe = np.maximum(fringe, disc(_SIDE, centre, size, 7.0, 0.09, rng))
        middle = np.maximum(middle, disc(_SIDE, centre, 0.7 * size, 9.0, 0.08, rng))
    granules = middle * np.clip(0.6 + 0.5 * noise(_SIDE, 2, rng), 0, None)
    return {
        "eosin": fringe * (0.5 + 0.15 * noise(_SIDE, 2.5, rng)) + 0.5 * granules,
        "chromatin": 0.45 * granules,
    }


def _smudge(rng: np.random.Generator) -> Mapping[str, Float64]:
    """Nucleus of a crushed leucocyte: a violet smear of loose threads without outline."""
    rows, columns = axes(_SIDE)
    along, across = 0.87 * columns + 0.5 * rows, 0.87 * rows - 0.5 * columns
    shape = 1.0 - np.hypot(along / 58, across / 40) + 0.10 * noise(_SIDE, 9, rng)
    reach = step(shape, 0.5)
    middle = (_SIDE - 1) / 2
    places = [across + middle, along / 2.5 + middle]
    fields = [noise(_SIDE, width, rng) for width in (2.0, 4.0, 9.0)]
    fine, coarse, cloud = (ndimage.map_coordinates(field, places, order=1) for field in fields)
    threads = 1 - 0.5 * np.abs(fine) + 0.35 * coarse
    amount = reach * np.clip(0.6 * threads + 0.15 * cloud, 0.05, None)
    return {"eosin": 0.55 * amount, "chromatin": 0.50 * amount, "cytoplasm": 0.3 * reach * amount}


def _body(radius: float, irregular: float, rng: np.random.Generator) -> Float64:
    """Red cell: paler in its middle, a slightly darker rim, some mottling."""
    shape = disc(_SIDE, (0.0, 0.0), radius, 5.5, irregular, rng)
    depth = _away(3, -4) / radius
    rim = 0.88 + 0.18 * step(depth - 0.80, 0.5) - 0.26 * step(0.42 - depth, 0.9)
    return shape * rim * (1 + 0.025 * noise(_SIDE, 5, rng))


def _stippling(where: Float64, count: int, amount: float, rng: np.random.Generator) -> Float64:
    """Schueffner's dots: fine pink grains in a cell that holds Plasmodium vivax."""
    return amount * grains(step(where - 0.6, 0.3), count, (0.8, 1.6), rng)


def _away(row: float, column: float) -> Float64:
    rows, columns = axes(_SIDE)
    return np.hypot(rows - row, columns - column)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/draw_templates.py FOLDER")
    save_templates(draw_templates(), Path(sys.argv[1]))
