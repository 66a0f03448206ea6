"""Settings of ``extract wsi`` that determine its patches, and the context of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
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
"""Maps an image (H, W, 3) to a mask (H, W) of all objects in it."""

DEFAULT_SIZES = {PatchMode.GRID: 512, PatchMode.SAMPLED: 512, PatchMode.CENTRED: 128}
"""Side of a patch in pixels, sections III.B and III.C."""


@dataclass(frozen=True, slots=True)
class PatchSettings:
    """Placement and resolution of patches, and content of their masks.

    Attributes
    ----------
    patch_size : int or None
        Side in pixels; None for the paper's (128 centred, 512 otherwise).
    mpp : float or None
        Micrometres per pixel of the patches, both axes; None reads the level that the manifest
        gives for each slide.
    classes : str
        ``CLASS=NAME,NAME;CLASS=...``: annotated names by class; if empty, each name is a class.
    mask : str or None
        Centred: ``polygons``, ``disc:UM``, ``stain`` or ``model:FOLDER``; None paints annotated
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
        self._check_numbers()
        if self.mask is not None and self.mode is not PatchMode.CENTRED:
            raise ArgumentError(
                f"--mask goes with --mode centred, not with --mode {self.mode.value}"
            )
        if self.draws > 1 and self.mode is not PatchMode.SAMPLED:
            raise ArgumentError(
                f"--draws goes with --mode sampled, not with --mode {self.mode.value}"
            )
        if self.mask and not _is_mask_source(self.mask):
            raise ArgumentError(
                f"--mask {self.mask}: expected polygons, disc:UM (radius in micrometres), stain or "
                "model:FOLDER"
            )
        if self.classes:
            ClassMap.parse(self.classes)

    def _check_numbers(self) -> None:
        counts = {
            "patch-size": self.size,
            "stride": self.step,
            "patches": self.patches,
            "draws": self.draws,
        }
        for option, count in counts.items():
            if count < 1:
                raise ArgumentError(f"--{option} {count}: expected 1 or more")
        for option, share in (("min-tissue", self.min_tissue), ("background", self.background)):
            if not 0.0 <= share < 1.0:
                raise ArgumentError(f"--{option} {share}: expected 0 or more and below 1")
        if self.mpp is not None and not 0.05 <= self.mpp <= 20:
            raise ArgumentError(f"--mpp {self.mpp}: expected 0.05 to 20 micrometres per pixel")
        if not 0 < self.max_residual < inf:
            raise ArgumentError(f"--max-residual {self.max_residual}: expected above 0 pixels")

    @property
    def size(self) -> int:
        """Side of a patch in pixels."""
        return DEFAULT_SIZES[self.mode] if self.patch_size is None else self.patch_size

    @property
    def step(self) -> int:
        """Pixels from one patch of the grid to the next."""
        return self.size if self.stride is None else self.stride

    @property
    def disc(self) -> float | None:
        """Radius of ``disc:UM`` in micrometres, None for other masks."""
        return _radius(self.mask) if self.mask is not None else None

    @property
    def model(self) -> Path | None:
        """Folder of ``model:FOLDER``, None for other masks."""
        kind, _, folder = (self.mask or "").partition(":")
        return Path(folder) if kind == "model" else None

    @property
    def recorded(self) -> dict[str, Any]:
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


def _is_mask_source(mask: str) -> bool:
    kind, _, value = mask.partition(":")
    if kind == "disc":
        return _radius(mask) is not None
    if kind == "model":
        return bool(value)
    return kind in ("polygons", "stain") and not value


def _radius(mask: str) -> float | None:
    """Return the radius of ``disc:UM``, None if it is another mask or not a positive number."""
    kind, _, text = mask.partition(":")
    try:
        radius = float(text)
    except ValueError:
        return None
    return radius if kind == "disc" and 0 < radius < inf else None


def registration_cache_folder(out: Path) -> Path:
    """Return the hidden folder of a store's registration cache, removed when all is complete."""
    return out.with_name(f".{out.name}.plan")


class RegistrationCache:
    """Results of registration by key, kept so that a resumed run need not compute them again.

    Aligning scans and measuring residuals takes longer than reading patches. Results are written to
    a journal in the hidden folder ``.NAME.plan`` next to the store, which is removed when the store
    and its side outputs are complete.

    Parameters
    ----------
    out : Path
        The store to be written.
    invocation : Invocation
        A cache can only be resumed by the same one.
    resume : bool
        Reuse the results of an interrupted run.
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
        """Keep the cache if the run can be resumed, as ``staged`` keeps the store."""
        if kind is None or not issubclass(kind, KeyboardInterrupt | OSError | MemoryError):
            self.clear()

    def get(self, *key: str) -> Any:  # noqa: ANN401 - any JSON type
        """Return the result of a key, None if there is none."""
        return self._results.get("\n".join(key))

    def put(self, result: object, *key: str) -> None:
        """Store a result, of JSON types."""
        joined = "\n".join(key)
        self._results[joined] = result
        self._journal.note({"key": joined, "value": result})

    def clear(self) -> None:
        """Remove the folder."""
        remove(self._folder)


@dataclass(frozen=True, slots=True)
class ExtractionContext:
    """Settings and resources of one extraction.

    Attributes
    ----------
    pool : SlidePool
        Open slides; a copy sent to another machine opens its own.
    mapper : Mapper
        Distributes work over threads of this process or a cluster.
    cache : RegistrationCache or None
        None in a dry run.
    """

    settings: PatchSettings
    seed: int
    pool: SlidePool
    mapper: Mapper
    progress: Progress
    cache: RegistrationCache | None = None
