"""How far one tile lies beside another: band-limited phase correlation."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from skiptool.records import AnyArray, Float32

__all__ = ["displacement", "hann"]

_BAND: Final = 1.5
"""Width (sigma, in pixels) of the peak that is left of equal tiles. Narrower ones rest on details
that scans out of focus, or finer than their optics, do not have."""


def displacement(first: Float32, second: Float32) -> tuple[float, float, float]:
    """Measure how far the second of two tiles lies beside the first.

    Parameters
    ----------
    first, second : float32, shape (H, W)
        Grey values.

    Returns
    -------
    x, y : float
        In pixels, below half a tile: what the first shows at p, the second shows at p + (x, y).
    response : float
        Height of the peak: 1 for equal tiles, rarely above 0.25 for tiles that share nothing, 0
        where one of them is empty.

    Notes
    -----
    The cross-power spectrum is limited to low frequencies by a Gaussian, so that the peak is one
    too, and the parabola through the logarithms of three values has its top where the peak has.
    Between tiles of two real scanners a known shift of 2 pixels is found again to 0.01 px (median);
    the centroid of ``cv2.phaseCorrelate`` finds it to 0.14 px, maximising the correlation (ECC) to
    0.02 px in six times the time. Cross-correlation without whitening is not fit: the window draws
    it to 0.
    """
    window = hann(first.shape[0], first.shape[1])
    spectra = [np.fft.rfft2((tile - _mean(tile, window)) * window) for tile in (first, second)]
    cross = np.conj(spectra[0]) * spectra[1]
    size = np.abs(cross)
    size += max(float(size.max()) * 1e-9, 1e-12)  # frequencies that are missing have no phase
    surface = np.fft.irfft2(cross / size * _band(*first.shape), s=first.shape)
    row, column = (int(at) for at in np.unravel_index(int(surface.argmax()), surface.shape))
    x = _signed(column + _top(surface[row], column), first.shape[1])
    y = _signed(row + _top(surface[:, column], row), first.shape[0])
    return x, y, float(surface[row, column])


@lru_cache(maxsize=8)
def hann(rows: int, columns: int) -> Float32:
    """Return OpenCV's window (the root of Hann's) of a size; it is shared, not to be written to."""
    return np.asarray(cv2.createHanningWindow((columns, rows), cv2.CV_32F), dtype=np.float32)


@lru_cache(maxsize=8)
def _band(rows: int, columns: int) -> Float32:
    """Weights of the frequencies, scaled so that equal tiles give a peak of height 1."""
    down, across = np.fft.fftfreq(rows)[:, np.newaxis], np.fft.rfftfreq(columns)
    weights = np.exp(-2 * (np.pi * _BAND) ** 2 * (down**2 + across**2))
    height = np.fft.irfft2(weights, s=(rows, columns))[0, 0]
    return np.asarray(weights / height, dtype=np.float32)


def _mean(tile: Float32, window: Float32) -> np.float32:
    # Summed in float64: an empty tile must become 0 throughout, not noise of rounding.
    return np.float32((tile * window).sum(dtype=np.float64) / window.sum(dtype=np.float64))


def _top(line: AnyArray, at: int) -> float:
    """Return the offset of the Gaussian's top from the highest value of a line that closes."""
    left, peak, right = np.log(np.maximum(line[[at - 1, at, (at + 1) % len(line)]], 1e-9))
    bend = left - 2 * peak + right
    return float(np.clip((left - right) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


def _signed(shift: float, side: int) -> float:
    return (shift + side / 2) % side - side / 2
