"""Options of ``extract wsi`` that shape its patches, and what all parts of one run share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiptool.errors import ArgumentError
from skiptool.names import PatchMode
from skiptool.records import Progress
from skiptool.sources.annotations.classes import ClassMap
from skiptool.sources.slides.pool import SlidePool
from skiptool.stores.journal import Journal
from skiptool.stores.lineage import Invocation
from skiptool.stores.staging import remove

if TYPE_CHECKING:
    from skiptool.comparison.activations import Mapper
    from skiptool.records import Bool, UInt8

Segmenter = Callable[["UInt8"], "Bool"]
"""From an image (H, W, 3) to the pixels of all its objects (H, W)."""

DEFAULT_SIZES = {PatchMode.GRID: 512, PatchMode.SAMPLED: 512, PatchMode.CENTRED: 128}
"""Pixels along either side of a patch, sections III.B and III.C."""


@dataclass(frozen=True, slots=True)
class PatchSettings:
    """Which patches are taken, and what their masks show.

    Attributes
    ----------
    mode : PatchMode
    patch_size : int or None
        Pixels along either side; None for the paper's (128 centred, 512 otherwise).
    mpp : float or None
        Micrometres per pixel of the patches, both axes; None for each slide's own level.
    classes : str
        ``CLASS=NAME,NAME;CLASS=...``: annotated names by class; if empty, each name is a class.
    mask : str or None
        Centred: ``polygons``, ``disc:UM``, ``stain`` or ``model:FOLDER``; None draws annotated
        outlines, and thresholds the stain at points and boxes.
    min_tissue : float
        Grid: minimum share of tissue, exclusive.
    stride : int or None
        Grid: pixels from patch to patch; None for the patch size.
    patches, draws : int
        Sampled: patches per slide and draw, and number of draws of training patches.
    background : float
        Sampled: share of patches centred on slide background.
    register : str or None
        Reference domain, whose annotations and patches are transferred to all others.
    max_residual : float
        Misalignment, in level-0 pixels of that domain, above which a patch is left out of all.
    """

    mode: PatchMode = PatchMode.GRID
    patch_size: int | None = None
    mpp: float | None = None
    classes: str = ""
    mask: str | None = None
    min_tissue: float = 0.5
    stride: int | None = None
    patches: int = 32
    draws: int = 1
    background: float = 0.1
    register: str | None = None
    max_residual: float = 2.0

    def __post_init__(self) -> None:
        for wrong, message in self._faults():
            if wrong:
                raise ArgumentError(message)
        if self.classes:
            ClassMap.parse(self.classes)

    @property
    def size(self) -> int:
        """Pixels along either side of a patch."""
        return DEFAULT_SIZES[self.mode] if self.patch_size is None else self.patch_size

    @property
    def step(self) -> int:
        """Pixels from one patch of the grid to the next."""
        return self.size if self.stride is None else self.stride

    @property
    def disc(self) -> float | None:
        """Radius of ``disc:UM`` in micrometres, None for other masks."""
        return _radius(self.mask) if (self.mask or "").startswith("disc") else None

    @property
    def model(self) -> Path | None:
        """Folder of ``model:FOLDER``, None for other masks."""
        kind, _, folder = (self.mask or "").partition(":")
        return Path(folder) if kind == "model" else None

    @property
    def asked(self) -> dict[str, Any]:
        """Parameters of the command, as recorded in the store."""
        options: dict[str, Any] = {
            "mode": self.mode.value,
            "patch_size": self.size,
            "mpp": self.mpp,
            "classes": self.classes or None,
        }
        if self.mode is PatchMode.GRID:
            options |= {"min_tissue": self.min_tissue, "stride": self.step}
        elif self.mode is PatchMode.SAMPLED:
            options |= {"patches": self.patches, "draws": self.draws, "background": self.background}
        else:
            options["mask"] = self.mask
        if self.register is not None:
            options |= {"register": self.register, "max_residual": self.max_residual}
        return options

    def _faults(self) -> Iterator[tuple[bool, str]]:
        counts = {
            "patch-size": self.size,
            "stride": self.step,
            "patches": self.patches,
            "draws": self.draws,
        }
        for option, value in counts.items():
            yield value < 1, f"--{option} {value}: expected 1 or more"
        for option, share in (("min-tissue", self.min_tissue), ("background", self.background)):
            yield not 0.0 <= share < 1.0, f"--{option} {share}: expected 0 or more and below 1"
        good = self.mpp is None or 0.05 <= self.mpp <= 20
        yield not good, f"--mpp {self.mpp}: expected 0.05 to 20 micrometres per pixel"
        yield (
            not (isfinite(self.max_residual) and self.max_residual > 0),
            f"--max-residual {self.max_residual}: expected above 0 pixels",
        )
        alone = self.mask is not None and self.mode is not PatchMode.CENTRED
        yield alone, f"--mask goes with --mode centred, not with --mode {self.mode.value}"
        yield (
            self.draws > 1 and self.mode is not PatchMode.SAMPLED,
            f"--draws goes with --mode sampled, not with --mode {self.mode.value}",
        )
        kind, _, rest = (self.mask or "stain").partition(":")
        yield (
            kind not in ("polygons", "stain", "disc", "model")
            or (kind in ("disc", "model")) != bool(rest)
            or (kind == "disc" and _radius(self.mask) is None),
            f"--mask {self.mask}: expected polygons, disc:UM (radius in micrometres), stain or "
            "model:FOLDER",
        )


def _radius(mask: str | None) -> float | None:
    try:
        radius = float((mask or "").partition(":")[2])
    except ValueError:
        return None
    return radius if isfinite(radius) and radius > 0 else None


def registration_cache_folder(out: Path) -> Path:
    """Return the hidden folder of the registration cache of a store, there until all is done."""
    return out.with_name(f".{out.name}.plan")


class RegistrationCache:
    """Results of registration by key, kept so that a resumed run need not compute them again.

    Aligning scans and measuring residuals takes longer than reading patches. Results are noted in
    a journal in the hidden folder ``.NAME.plan`` next to the store, which is removed when the store
    and its side outputs are complete.

    Parameters
    ----------
    out : Path
        The store to be written.
    invocation : Invocation
    resume : bool
        Take over the results of an interrupted run.

    Raises
    ------
    ExistsError
        If that run had other parameters.
    FormatError
        If its journal is damaged.
    """

    def __init__(self, out: Path, invocation: Invocation, *, resume: bool) -> None:
        self._folder = registration_cache_folder(out)
        if not resume:
            remove(self._folder)
        self._folder.mkdir(exist_ok=True)
        self._journal = Journal(self._folder, invocation)
        if not self._journal.begun:
            self._journal.begin()
        self._results = {
            str(entry.get("key")): entry.get("value") for entry in self._journal.entries
        }

    def __enter__(self) -> RegistrationCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep the cache where the run can be resumed (as ``atomic_output`` keeps the store)."""
        if kind is None or not issubclass(kind, KeyboardInterrupt | OSError | MemoryError):
            self.clear()

    def get(self, *key: str) -> Any:  # noqa: ANN401 - whatever was put
        """Return the result of a key, None if there is none."""
        return self._results.get("\n".join(key))

    def put(self, result: object, *key: str) -> None:
        """Note a result, of JSON types."""
        joined = "\n".join(key)
        self._results[joined] = result
        self._journal.note({"key": joined, "value": result})

    def clear(self) -> None:
        """Remove the folder."""
        remove(self._folder)


@dataclass(frozen=True, slots=True)
class ExtractionContext:
    """What all parts of one extraction share.

    Attributes
    ----------
    settings : PatchSettings
    seed : int
    pool : SlidePool
        Open slides; on another machine it opens its own.
    mapper : Mapper
        Distributes work over threads of this process or a cluster.
    progress : Progress
    cache : RegistrationCache or None
        None in a dry run.
    """

    settings: PatchSettings
    seed: int
    pool: SlidePool
    mapper: Mapper
    progress: Progress
    cache: RegistrationCache | None = None
