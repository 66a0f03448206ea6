"""A dataset, predictions of it that were never made by a network, and their masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skiptool.metrics import confusion_counts
from skiptool.names import IGNORE_LABEL, Kind, Split
from skiptool.records import ORIGINAL, Sample, Shift
from skiptool.stores.dataset import DatasetStore, open_dataset
from skiptool.stores.dataset_writer import DatasetWriter
from skiptool.stores.lineage import Invocation, create_lineage
from skiptool.stores.masks import MaskStore, MaskWriter, open_masks
from skiptool.stores.tables import MetricTable, TableWriter, open_table, prediction_columns

DARK, BRIGHT = Shift.parse("brightness=0.5"), Shift.parse("brightness=1.5")
CLASSES = ("background", "cell")
SIDE = 10


def network(pruning: str = "baseline", fold: int | None = 0, **new: object) -> dict[str, Any]:
    """Facts of a model as ``predict`` gives them."""
    facts = {
        **{"model": f"{pruning}/{fold}", "model_id": f"id of {pruning} {fold}", "arch": "unet"},
        **{"encoder": "resnet18", "pruning": pruning, "fold": fold, "parameter_count": 7},
    }
    return {**facts, **new}


def dataset(path: Path, samples: int = 4, domains: Sequence[str] = ("a",), **new: Any) -> Path:  # noqa: ANN401
    """Write samples whose mask is the lower half."""
    writer = DatasetWriter(path, new.pop("classes", CLASSES), Invocation("extract"))
    shape = new.pop("shape", (SIDE, SIDE, 3))
    for domain in domains:
        for index in range(samples):
            rng = np.random.default_rng([index, *domain.encode()])
            image = rng.integers(0, 256, shape, dtype=np.uint8)
            if shape[2] == 1:
                image = (image / 255).astype(np.float32)
            mask = np.zeros(shape[:2], dtype=np.uint8)
            mask[shape[0] // 2 :] = 1
            facts = {
                **{"id": f"s{index}", "subject": f"p{index // 2}", "domain": domain},
                **{"split": Split.TEST, "image": image, "mask": mask, **new},
            }
            writer.append(Sample(**facts))
    writer.finish()
    return path


@dataclass
class Predicted:
    """What stands beside one another after a run of ``predict``.

    ``missed`` holds, by pruning and shift, the rows of pixels of the lower half that each sample
    lacks: of 10 x 10 pixels, sample i has IoU 1 - missed[i] / 5.
    """

    folder: Path
    data: Path
    missed: Mapping[tuple[str, Shift], Sequence[int]] = field(default_factory=dict)

    def store(self) -> DatasetStore:
        return open_dataset(self.data)

    def write(
        self,
        networks: Sequence[dict[str, Any]],
        shifts: Sequence[Shift] = (ORIGINAL,),
        *,
        name: str = "p",
        leave_out: Sequence[tuple[str, Shift]] = (),
        inputs: dict[str, str] | None = None,
    ) -> tuple[MetricTable, MaskStore]:
        """Write table and masks; pairs of pruning and shift may be left out of the masks."""
        store = self.store()
        invocation = Invocation("predict", inputs={"dataset": store.lineage.id} | (inputs or {}))
        table, masks = self.folder / f"{name}.parquet", self.folder / f"{name}.zarr"
        writer = MaskWriter(masks, create_lineage(Kind.MASKS, invocation, name), store.classes)
        with TableWriter(table, create_lineage(Kind.PREDICTIONS, invocation, name)) as rows:
            for facts in networks:
                for domain in store.domains.values():
                    indices = range(len(domain))
                    truths = store.samples(domain.name, indices).read_many(indices)[1]
                    for shift in shifts:
                        missed = self.missed.get((facts["pruning"], shift), [0] * len(domain))
                        labels = np.where(truths == IGNORE_LABEL, 0, truths).astype(np.uint8)
                        for one, lacking in zip(labels, missed, strict=True):
                            one[len(one) - lacking :] = 0
                        pairs = zip(truths, labels, strict=True)
                        counts = np.stack(
                            [confusion_counts(a, b, len(store.classes)) for a, b in pairs]
                        )
                        columns = prediction_columns(facts, store, domain, shift, indices, counts)
                        rows.append(columns, counts.size)
                        if (facts["pruning"], shift) in leave_out:
                            continue
                        entry = {
                            **{"model": facts["model"], "model_id": facts["model_id"]},
                            **{"domain": domain.name, "shift": shift.kind.value},
                            "factor": shift.factor,
                        }
                        ids = list(domain.columns["id"])
                        begun = writer.begin(entry, ids, (domain.height, domain.width))
                        writer.append(begun, labels)
        return open_table(table, Kind.PREDICTIONS), open_masks(masks)
