"""What is predicted: models and ensembles on samples of domains under shifts, on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from skiptool.names import Precision
from skiptool.records import Shift
from skiptool.stores.dataset import DatasetStore, Domain
from skiptool.stores.models import Ensemble, StoredModel
from skiptool.substitution import Substitution

if TYPE_CHECKING:
    from skiptool.records import Int64, UInt8

__all__ = ["Counted", "Loaded", "Part", "Run", "Sink"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model folder that was read, and its network."""

    stored: StoredModel
    network: Any


@dataclass(frozen=True, slots=True)
class Part:
    """Samples of one domain, and the numbers of the models that segment them."""

    domain: Domain
    indices: tuple[int, ...]
    models: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What one model or ensemble made of a part under one shift.

    Attributes
    ----------
    number : int
        Of the model or ensemble.
    shift : Shift
    clean_skips : str or None
        Parts that the decoder got from the clean image, None for a plain prediction.
    matrices : int64, shape (N, J, J)
        Pixels by [truth, predicted] of each sample of the part.
    """

    number: int
    shift: Shift
    clean_skips: str | None
    matrices: Int64


@dataclass(frozen=True, slots=True)
class Run:
    """One call of ``predict``.

    Attributes
    ----------
    store : DatasetStore
    models : sequence of Loaded
    ensembles : sequence of Ensemble
        Numbered on after the models.
    parts : sequence of Part
    shifts : sequence of Shift
    split : str
        Name of the split as typed.
    device : str
    precision : Precision
    substitutions : sequence of Substitution
        Feature maps that decoders get from the clean image; none for plain predictions.
    clean : Domain, optional
        Where clean images are found by the samples' ids; by default they are the unshifted ones.
    workers : int, optional
        Threads that shift images while a GPU predicts, by default one for each core.
    """

    store: DatasetStore
    models: Sequence[Loaded]
    ensembles: Sequence[Ensemble]
    parts: Sequence[Part]
    shifts: Sequence[Shift]
    split: str
    device: str
    precision: Precision
    substitutions: Sequence[Substitution] = ()
    clean: Domain | None = None
    workers: int | None = None

    def predictor(self, number: int) -> StoredModel | Ensemble:
        """Return a model or an ensemble by its number."""
        if number < len(self.models):
            return self.models[number].stored
        return self.ensembles[number - len(self.models)]

    def predictors(self, part: Part) -> list[int]:
        """Return the numbers of what segments a part: its models, then the ensembles."""
        first = len(self.models)
        return [*part.models, *range(first, first + len(self.ensembles))]


class Sink(Protocol):
    """Takes predicted labels as they come: a store of masks, pictures."""

    def begin(self, part: Part) -> None:
        """Prepare for the samples of a part."""

    def wants(self, shift: Shift) -> bool:
        """Say whether it takes the labels of images under this shift."""

    def take(self, number: int, shift: Shift, rows: range, labels: UInt8, counts: Int64) -> None:
        """Take labels (n, H, W) and counts (n, J, J) of some rows of the part, in order."""
