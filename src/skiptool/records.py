"""Frozen records and small protocols shared by all packages.

Array aliases are for type checkers only: this module imports only the standard library.
Axes have one-letter names: N images, H x W pixels, C image channels, D feature channels,
K vectors per image, B bins, J classes (0 = background).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

from skiptool.errors import ArgumentError, MismatchError, suggestion
from skiptool.names import SKIP_LEVELS, Arch, Loss, Precision, ShiftKind, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    UInt8 = NDArray[np.uint8]
    Int64 = NDArray[np.int64]
    Float16 = NDArray[np.float16]
    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Bool = NDArray[np.bool_]
    AnyArray = NDArray[Any]
    Image = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its mask and origin.

    Attributes
    ----------
    id : str
        Unique within its domain; equal ids in two domains are the same location imaged twice.
    image : uint8 (H, W, 3) or float32 (H, W, 1) in [0, 1]
    mask : uint8 (H, W)
        Labels, indices into the classes; 255 is always ignored.
    subject : str
        Unit of splits and statistics (patient, slide; for synthetic images the image).
    domain : str
        Scanner, vendor or site.
    fold : int
        Validation fold, -1 for test samples.
    columns : mapping
        Further columns of the source (cells, x, y, mpp, slice ...), one value each.
    """

    id: str
    image: Image
    mask: UInt8
    subject: str
    domain: str
    split: Split
    fold: int = -1
    columns: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shift:
    """A controlled shift: a kind and its factor (None for the original image).

    Examples
    --------
    >>> Shift.parse("brightness=0.75")
    Shift(kind=<ShiftKind.BRIGHTNESS: 'brightness'>, factor=0.75)
    >>> str(Shift.parse("saturation=0")), str(Shift.parse("original"))
    ('saturation=0', 'original')
    """

    kind: ShiftKind
    factor: float | None

    @classmethod
    def parse(cls, text: str) -> Shift:
        """Read ``KIND=FACTOR`` or ``original``.

        Raises
        ------
        ArgumentError
            If the kind is unknown, or the factor missing, not a number, or out of range.
        """
        name, _, number = text.partition("=")
        kinds = [kind.value for kind in ShiftKind]
        if name not in kinds:
            raise ArgumentError(
                f"shift {text!r}: unknown kind {name!r}, expected one of {', '.join(kinds)}"
                f"{suggestion(name, kinds)}"
            )
        kind = ShiftKind(name)
        if kind is ShiftKind.ORIGINAL:
            if number:
                raise ArgumentError(f"shift {text!r}: 'original' takes no factor; write 'original'")
            return cls(kind, None)
        return cls(kind, _factor(text, number))

    def __str__(self) -> str:
        if self.factor is None:
            return self.kind.value
        # With all digits, so that different factors never share a file name or id.
        return f"{self.kind.value}={repr(float(self.factor)).removesuffix('.0')}"


def _factor(text: str, number: str) -> float:
    try:
        factor = float(number)
    except ValueError:
        raise ArgumentError(
            f"shift {text!r}: factor {number!r} is not a number; write KIND=FACTOR, such as "
            "brightness=0.75"
        ) from None
    if not 0.0 <= factor <= MAX_FACTOR:
        raise ArgumentError(
            f"shift {text!r}: factor {number} is out of range; expected 0 <= factor <= "
            f"{MAX_FACTOR:g} (1 leaves the image unchanged)"
        )
    return factor


MAX_FACTOR = 100.0
"""Largest factor accepted: above it every non-black pixel is saturated."""

ORIGINAL = Shift(ShiftKind.ORIGINAL, None)

PAPER_SWEEP = (
    ORIGINAL,
    *(Shift(ShiftKind.BRIGHTNESS, factor) for factor in (0.5, 0.75, 1.25, 1.5, 1.75)),
    *(Shift(ShiftKind.CONTRAST, factor) for factor in (0.5, 0.75, 1.25, 1.5, 1.75)),
    *(Shift(ShiftKind.SATURATION, factor) for factor in (0.0, 0.25, 0.5, 0.75)),
)
"""The grid of Fig. 7, the unshifted image first."""


STRIDE = 32
"""Stride of the fifth encoder stage."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Specification of a network, sufficient to rebuild it.

    Attributes
    ----------
    encoder : str
        Name of a five-stage encoder of segmentation-models-pytorch.
    skips : tuple of int
        Remaining skip levels: ``(1, 2, 3, 4)`` is the baseline, ``(2, 3, 4)`` L1-pruned,
        ``()`` L4-pruned; any subset is allowed.
    classes : tuple of str
        Class names, index = label, background first.
    channels : int
        Image channels C: 3 for colour, 1 for MR.
    arch : str
        One of `skiptool.names.Arch`.
    binary : bool
        A single logit for the only foreground class, whose probability is its sigmoid. Only
        external networks have it; those trained here have one logit per class.
    options : tuple of (str, str)
        Further keyword arguments for segmentation-models-pytorch, sorted by name, values as JSON.

    Examples
    --------
    >>> Architecture("resnet18", (2, 3, 4), ("background", "cell")).pruning
    'L1-pruned'
    >>> Architecture("resnet18", (1, 3), ("background", "cell")).folder
    'resnet18-skips-1+3'
    """

    encoder: str
    skips: tuple[int, ...]
    classes: tuple[str, ...]
    channels: int = 3
    arch: str = Arch.UNET.value
    binary: bool = False
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.arch not in list(Arch):
            raise ArgumentError(
                f"architecture {self.arch!r}: expected one of {', '.join(Arch)}"
                f"{suggestion(self.arch, Arch)}"
            )
        unknown = [level for level in self.skips if level not in SKIP_LEVELS]
        if unknown or tuple(sorted(set(self.skips))) != self.skips:
            raise ArgumentError(
                f"skips {self.skips}: expected distinct levels out of {SKIP_LEVELS} in ascending "
                "order; level 1 is the uppermost"
            )

    @property
    def logits(self) -> int:
        """Number of output channels."""
        return 1 if self.binary else len(self.classes)

    @property
    def pruned(self) -> int | None:
        """Number k of uppermost skips removed (the paper's Lk), None for other subsets."""
        count = len(SKIP_LEVELS) - len(self.skips)
        return count if self.skips == SKIP_LEVELS[count:] else None

    @property
    def pruning(self) -> str:
        """Label in tables: ``baseline``, ``L1-pruned`` ..., ``skips-1+3`` for other subsets."""
        if self.pruned is None:
            return "skips-" + "+".join(map(str, self.skips))
        return f"L{self.pruned}-pruned" if self.pruned else "baseline"

    @property
    def folder(self) -> str:
        """Name of the run's folder: ``resnet18-L1``, ``unetplusplus-resnet18-skips-1+3``."""
        tail = self.pruning if self.pruned is None else f"L{self.pruned}"
        head = "" if self.arch == Arch.UNET else f"{self.arch}-"
        return f"{head}{self.encoder.replace('/', '_')}-{tail}"

    def check_size(self, height: int, width: int, where: str) -> None:
        """Raise MismatchError if a side is not a multiple of 32; ``unet`` accepts any size."""
        if self.arch != Arch.UNET and (height % STRIDE or width % STRIDE):
            raise MismatchError(
                f"{where}: images of {height} x {width} pixels, {self.arch} accepts only multiples "
                f"of {STRIDE}; crop them to such a size, or use {Arch.UNET}, which accepts any"
            )


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Scaling of images in [0, 1] for an external network: (x - mean) / std.

    Attributes
    ----------
    mean, std : tuple of float
        One number for each image channel, or one for all; empty for no scaling.

    Examples
    --------
    >>> Normalisation.parse("imagenet").mean
    (0.485, 0.456, 0.406)
    >>> str(Normalisation.parse("0.5/0.25")), str(Normalisation.parse("0,0,0/1,1,1"))
    ('0.5/0.25', 'none')
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Normalisation:
        """Read ``imagenet``, ``none``, or ``MEAN/STD`` with one number or one for each channel."""
        if text in ("none", "imagenet"):
            return cls() if text == "none" else cls(*_IMAGENET)
        parts = text.split("/")
        try:
            mean, std = (tuple(float(word) for word in part.split(",")) for part in parts)
        except ValueError:
            raise ArgumentError(
                f"--normalise {text!r}: expected imagenet, none, or MEAN/STD with one number for "
                "each channel, such as 0.5,0.5,0.5/0.25,0.25,0.25"
            ) from None
        if len(mean) != len(std):
            raise ArgumentError(
                f"--normalise {text!r}: has {len(mean)} means and {len(std)} standard deviations; "
                "give one of each for every channel"
            )
        if not all(0 <= number <= 1 for number in mean) or not all(0 < n <= 1 for n in std):
            raise ArgumentError(
                f"--normalise {text!r}: expected means from 0 to 1 and standard deviations above 0 "
                "up to 1, for images scaled to [0, 1]; divide values for 0 to 255 by 255"
            )
        return cls() if set(mean) == {0.0} and set(std) == {1.0} else cls(mean, std)

    def __bool__(self) -> bool:
        return bool(self.mean)

    def __str__(self) -> str:
        if (self.mean, self.std) == _IMAGENET:
            return "imagenet"
        if not self:
            return "none"
        return "/".join(",".join(map(repr, part)) for part in (self.mean, self.std))

    def check_channels(self, channels: int, where: str) -> None:
        """Raise MismatchError for images with another number of channels."""
        if len(self.mean) not in (0, 1, channels):
            raise MismatchError(
                f"--normalise {self}: has {len(self.mean)} channels, {where} has {channels}; "
                "give MEAN/STD with one number for each"
            )


NO_NORMALISATION = Normalisation()
"""No scaling beyond [0, 1], as for networks trained here."""

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet, by channel."""


def architecture_family(arch: str | None, encoder: str | None) -> str:
    """Name a family of networks that differ in their skip connections; ``unet`` is omitted.

    Examples
    --------
    >>> architecture_family("unet", "resnet18"), architecture_family("linknet", "resnet18")
    ('resnet18', 'linknet resnet18')
    """
    prefix = "" if arch in (None, Arch.UNET) else f"{arch} "
    return f"{prefix}{encoder or ''}".strip()


def training_name(fold: int, repeat: int | None = 0) -> str:
    """Return the folder name of a training of an architecture.

    Examples
    --------
    >>> training_name(2), training_name(2, 1)
    ('fold2', 'fold2-r1')
    """
    return f"fold{fold}-r{repeat}" if repeat else f"fold{fold}"


def repeat_of(fold: int | None, repeat: int | None) -> int | None:
    """Return the repeat of a fold; 0 if version 0.1 did not record it.

    External networks have neither fold nor repeat; ensembles have no repeat.

    Examples
    --------
    >>> repeat_of(3, None), repeat_of(3, 1), repeat_of(None, None), repeat_of(-1, None)
    (0, 1, None, None)
    """
    trained = fold is not None and fold >= 0
    return 0 if trained and repeat is None else repeat


@dataclass(frozen=True, slots=True)
class Training:
    """Training protocol of section IV.C, with choices that the paper leaves open.

    Attributes
    ----------
    seed : int
        Determines `random_seed`, and folds that are derived from the data.
    repeat : int
        Repeats of a fold differ only in `random_seed`.
    class_weights : tuple of (str, float)
        Weights of classes in the cross-entropy, 1 for those not named.
    patience : int, optional
        Early stopping: epochs without a better validation mIoU.
    grad_clip : float, optional
        Maximum norm of the gradients.
    devices, nodes : int
        Processes per machine, and machines, that train together; each batch is split among them.
    compile : bool
        Use ``torch.compile``.
    deterministic : bool
        Use only algorithms that are bit-reproducible on a GPU.
    """

    fold: int
    epochs: int = 50
    batch_size: int = 8
    lr: float = 1e-4
    lr_step: int = 15
    lr_gamma: float = 0.1
    loss: Loss = Loss.CE_GDICE
    encoder_weights: str = "imagenet"
    precision: Precision = Precision.AUTO
    seed: int = 0
    class_weights: tuple[tuple[str, float], ...] = ()
    patience: int | None = None
    grad_clip: float | None = None
    devices: int = 1
    nodes: int = 1
    compile: bool = False
    deterministic: bool = False
    repeat: int = 0

    @property
    def random_seed(self) -> int:
        """Seed of initial weights, batch order and augmentation; `seed` for repeat 0.

        Examples
        --------
        >>> Training(fold=0, seed=7).random_seed
        7
        >>> Training(fold=0, seed=7, repeat=1).random_seed == Training(fold=0, seed=8).random_seed
        False
        """
        if not self.repeat:
            return self.seed
        hashed = sha256(f"seed {self.seed} repeat {self.repeat}".encode()).digest()
        return int.from_bytes(hashed[:7], "big")

    def recorded(self) -> dict[str, Any]:
        """Return the protocol as JSON types; options beyond the paper only if used.

        Examples
        --------
        >>> Training(fold=0, patience=3).recorded()["patience"]
        3
        >>> "patience" in Training(fold=0).recorded()
        False
        """
        fields = asdict(self) | {"class_weights": dict(self.class_weights)}
        unused = {name for name, default in _BEYOND_THE_PAPER.items() if fields[name] == default}
        return {name: value for name, value in fields.items() if name not in unused}


_BEYOND_THE_PAPER: Mapping[str, Any] = {
    "class_weights": {},
    "patience": None,
    "grad_clip": None,
    "devices": 1,
    "nodes": 1,
    "compile": False,
    "deterministic": False,
    "repeat": 0,
}
"""Fields omitted from the record at their default, so that earlier models count as finished."""


@dataclass(frozen=True, slots=True)
class Shade:
    """Colour scale behind the numbers of a matrix in a terminal.

    Attributes
    ----------
    low, high : float
        Values at the ends of the colour scale; values beyond are clipped.
    diverging : bool
        Differences: a diverging scale, and signed numbers.
    digits : int
        Decimals.
    """

    low: float
    high: float
    diverging: bool = False
    digits: int = 2

    @classmethod
    def of(
        cls, columns: Iterable[Sequence[object]], *, diverging: bool = False, digits: int = 2
    ) -> Shade:
        """Make the scale of some columns: from 0, or symmetric about 0, to the largest magnitude.

        Examples
        --------
        >>> Shade.of([["enc1", "enc2"], [0.25, None]])
        Shade(low=0.0, high=0.25, diverging=False, digits=2)
        >>> Shade.of([[-0.5, 0.25, math.nan]], diverging=True).low
        -0.5
        """
        sizes = [abs(v) for cells in columns for v in cells if isinstance(v, int | float)]
        high = float(max((v for v in sizes if math.isfinite(v)), default=0.0)) or 1.0
        return cls(-high if diverging else 0.0, high, diverging, digits)


def luminance(red: float, green: float, blue: float) -> float:
    """Relative luminance, in [0, 1], of an sRGB colour with channels in [0, 1] (WCAG 2.2).

    Examples
    --------
    >>> luminance(1.0, 1.0, 1.0), luminance(1.0, 0.0, 0.0)
    (1.0, 0.2126)
    """
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (red, green, blue)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@dataclass(frozen=True, slots=True)
class Table:
    """A small table for display, such as the summary of ``predict``.

    ``columns`` maps headers to cells; all columns have the same length. If the terminal is too
    narrow, columns are dropped as needed: first those of ``uniform`` that hold a single value, then
    those of ``spare``. Piped or saved output has all columns.

    A table with a ``shade`` is a matrix: labels in its first columns, numbers in the others. If
    ``groups`` are given, headers start with one of them, and a narrow terminal prints one matrix
    per group.
    """

    title: str
    columns: Mapping[str, Sequence[str | int | float | None]]
    uniform: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    shade: Shade | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a step.

    Attributes
    ----------
    outputs : tuple of Path or str
        The main artifacts, in order of creation; URLs as text.
    side_outputs : tuple of Path or str
        Exports, masks, figures.
    summary : mapping
        Numbers for display and ``--json``; JSON types only.
    failures : tuple of str
        One line for each input that failed while the others were processed.
    tables : tuple of Table
        Tables to print.
    text : str
        Text to print verbatim (``info``).
    silent : bool
        Print nothing, because another process of the same run prints.
    """

    outputs: tuple[Path | str, ...] = ()
    side_outputs: tuple[Path | str, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    text: str = ""
    silent: bool = False


class Task(Protocol):
    """A task on a progress display."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Advance by ``steps`` and show ``note`` (loss, file) next to the bar."""


class Progress(Protocol):
    """Progress display of a step: a bar on the command line, nothing in the API."""

    def task(self, text: str, total: int) -> AbstractContextManager[Task]:
        """Open a task of ``total`` steps, closed at the end of the context."""

    def warn(self, line: str) -> None:
        """Show a one-line warning."""

    def say(self, line: str) -> None:
        """Show a one-line status message."""

    @property
    def quiet(self) -> bool:
        """True if nothing is shown."""


class _Silent:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass

    def task(self, text: str, total: int) -> AbstractContextManager[Task]:
        return nullcontext(self)

    def warn(self, line: str) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    quiet = True


SILENT: Progress = _Silent()


class SampleReader(Protocol):
    """Images and masks by index, for training and prediction.

    Implementations must be picklable (loader workers are spawned) and open their store lazily.
    """

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[Image, UInt8]:
        """Return image (H, W, C) uint8 or float32 and mask (H, W) uint8 of one sample."""


def as_paths_or_urls(paths: Iterable[Path | str] | Path | str) -> list[Path | str]:
    """Return a list from one or several paths or strings; URLs stay text.

    Examples
    --------
    >>> as_paths_or_urls(["s3://bucket/a.zarr", "b.zarr"]) == ["s3://bucket/a.zarr", Path("b.zarr")]
    True
    """
    several = [paths] if isinstance(paths, str | Path) else paths
    return [path if "://" in str(path) else Path(path) for path in several]


@overload
def as_path(path: Path | str) -> Path: ...


@overload
def as_path(path: None) -> None: ...


@overload
def as_path(path: Path | str | None) -> Path | None: ...


def as_path(path: Path | str | None) -> Path | None:
    """Return a path from a path or string; None stays None."""
    return None if path is None else Path(path)


def as_table(source: Path | str) -> Path | str:
    r"""Return a path from a path or string; text of several lines is itself a table.

    Examples
    --------
    >>> as_table("m.csv") == Path("m.csv"), as_table("path,domain\n")
    (True, 'path,domain\n')
    """
    if isinstance(source, str) and (not source or "\n" in source or "\r" in source):
        return source
    return Path(source)


_SAFE_NAME = re.compile(
    r"(?!\.{1,2}\Z)[^/\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+"
)


def is_name(name: str) -> bool:
    """Return True for a name that :func:`check_name` accepts."""
    return _SAFE_NAME.fullmatch(name) is not None


def check_name(name: str, kind: str) -> str:
    """Return ``name`` if it is usable as a group in a store and as part of a file name.

    Raises
    ------
    ArgumentError
        If it is empty, ``.`` or ``..``, or contains a slash or a control character, including those
        that change the writing direction. The message starts with ``kind``, such as ``domain``.
    """
    if not is_name(name):
        raise ArgumentError(
            f"{kind} {name!r}: a name must not be empty, '.' or '..', nor contain '/', '\\' or "
            "control characters; rename it"
        )
    return name
