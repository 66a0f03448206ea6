"""Tests of ``style``."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from skiptool.errors import ArgumentError
from skiptool.figures.style import (
    architecture_colours,
    drawing_style,
    figure_bytes,
    in_paper_order,
    label_text,
    round_ticks,
    save,
    set_scale,
    spans_decades,
    text_width,
)
from skiptool.names import PictureFormat

INLINE = "module://matplotlib_inline.backend_inline"

FIVE = ["baseline", "L1-pruned", "L2-pruned", "L3-pruned", "L4-pruned"]

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
SIGHTS = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip


def seen(colour: str, sight: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as seen with a sight."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(sight @ linear, 0.0, 1.0) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHTS)
def test_five_colours_differ_under_colour_blindness(sight: str) -> None:
    colours = architecture_colours(FIVE).values()
    seen_colours = [seen(colour, SIGHTS[sight]) for colour in colours]
    nearest = min(np.linalg.norm(a - b) for a, b in combinations(seen_colours, 2))
    assert nearest > 20.0  # about ten just noticeable differences


def test_colour_does_not_depend_on_other_networks() -> None:
    everyone = architecture_colours([*FIVE, "skips-1", "skips-1+3"])
    for name in FIVE:
        assert architecture_colours([name]) == {name: everyone[name]}


def test_further_subsets_take_colours_by_name_and_repeat() -> None:
    names = [f"skips-{letter}" for letter in "hgfedcba"]
    colours = architecture_colours(names)
    assert list(colours) == sorted(names)
    assert len(set(colours.values())) == 6
    assert colours["skips-a"] == colours["skips-g"]
    assert not set(colours.values()) & set(architecture_colours(FIVE).values())


@given(st.permutations([*FIVE, "skips-1", "skips-1+3"]))
def test_paper_order_is_unique(names: list[str]) -> None:
    assert in_paper_order(names) == [*FIVE, "skips-1", "skips-1+3"]


@given(st.text(), st.integers(5, 40))
def test_labels_are_one_short_line_valid_in_xml(text: str, limit: int) -> None:
    label = label_text(text, limit)
    assert len(label) <= limit
    assert len(label.splitlines()) <= 1
    assert all(character >= " " for character in label)
    label.encode()  # no lone surrogates


def test_long_labels_keep_both_ends() -> None:
    assert label_text("a" * 100 + "z" * 100, 11) == "aaaaa…zzzzz"


def test_text_width_is_that_of_the_widest_and_grows_with_the_size() -> None:
    assert text_width([], 7.0) == 0.0
    assert text_width(["i", "mmm"], 7.0) == text_width(["mmm"], 7.0) > text_width(["i"], 7.0)
    assert text_width(["mmm"], 14.0) == pytest.approx(2 * text_width(["mmm"], 7.0))


def sheet() -> Figure:
    with drawing_style():
        figure = Figure(figsize=(2.0, 1.0))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.text(0.5, 0.5, "cost $5 in 東京", rotation=90)
        axes.plot([0.0, 1.0], [0.0, 1.0])
    return figure


@pytest.mark.parametrize("kind", PictureFormat)
def test_figure_bytes_are_deterministic(kind: PictureFormat) -> None:
    first = figure_bytes(sheet(), kind)
    assert first == figure_bytes(sheet(), kind)
    for trace in (b"Matplotlib v", b"matplotlib.org", b"CreationDate", b"dc:date", b"Producer"):
        assert trace not in first


def test_user_settings_are_ignored_and_restored() -> None:
    plain = figure_bytes(sheet(), PictureFormat.SVG)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        assert figure_bytes(sheet(), PictureFormat.SVG) == plain
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("suffix", "magic"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")]
)
def test_save_depends_on_the_suffix(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"figure.{suffix}"
    save(sheet(), path)
    assert path.read_bytes().startswith(magic)


def test_pdf_embeds_truetype_and_svg_keeps_text() -> None:
    assert b"/FontFile2" in figure_bytes(sheet(), PictureFormat.PDF)
    assert "cost $5 in 東京</text>".encode() in figure_bytes(sheet(), PictureFormat.SVG)


def test_save_names_the_formats(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"unknown picture format 'gif'.*pdf, svg, png"):
        save(sheet(), tmp_path / "figure.gif")
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.parametrize(
    ("first", "backend"),
    [
        pytest.param("skiptool.steps.predict.predict", INLINE, marks=pytest.mark.slow),
        *(
            ("skiptool.report.page", backend)
            for backend in (
                INLINE,
                "nonsense",
                "qtagg",
                "",
                "module://mine",
            )
        ),
    ],
)
def test_notebook_backend_does_not_matter(first: str, backend: str, tmp_path: Path) -> None:
    code = (
        f"import os, pathlib, {first}\n"
        "from matplotlib.figure import Figure\n"
        "from skiptool.figures.style import save\n"
        "save(Figure(figsize=(1.0, 1.0)), pathlib.Path('f.png'))\n"
        "print(os.environ.get('MPLBACKEND'))\n"
    )
    (tmp_path / "mine.py").write_text("")  # a backend that can be had
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": backend},
        capture_output=True,
        text=True,
    )
    usable = backend not in (INLINE, "nonsense", "module://")
    kept = backend if usable else None
    assert (found.returncode, found.stdout) == (0, f"{kept}\n"), found.stderr
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_spans_decades_of_positive_values() -> None:
    assert not spans_decades(np.array([0.0, 1000.0]))
    assert not spans_decades(np.array([math.nan]))
    assert not spans_decades(np.array([0.01, 1.0]))
    assert spans_decades(np.array([0.0099, math.nan, 1.0]))


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e9), st.booleans())
def test_ticks_are_few_and_within_the_ends(low: float, factor: float, log: bool) -> None:
    high = low * factor
    found = round_ticks(low, high, log=log)
    assert all(low * (1 - 1e-12) <= tick <= high * (1 + 1e-12) for tick in found)
    assert found == sorted(set(found))
    assert len(found) <= 6
    if not log or factor >= 10.0:
        assert len(found) >= 1


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize("log", [False, True])
def test_set_scale_sets_the_limits(which: Literal["x", "y"], log: bool) -> None:
    axes = Figure().add_subplot()
    set_scale(axes, which, 0.02, 30.0, log=log)
    axis, ends = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    assert ends == (0.02, 30.0)
    assert axis.get_scale() == ("log" if log else "linear")
    texts = [label.get_text() for label in axis.get_ticklabels()]
    assert texts == (["0.1", "1", "10"] if log else ["10", "20", "30"])
    assert list(axis.get_minorticklocs()) == []
