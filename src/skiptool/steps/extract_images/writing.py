"""Pictures and masks into the store, and what lies beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skiptool.exports.nnunet import export_nnunet
from skiptool.exports.png import draw_sheets, export_pairs
from skiptool.names import ExportFormat
from skiptool.parallel import mapped
from skiptool.records import Progress, Sample
from skiptool.sources.pictures.samples import Item, Reading, read_samples
from skiptool.stores.dataset import open_dataset
from skiptool.stores.dataset_writer import DatasetWriter

if TYPE_CHECKING:
    from skiptool.records import Int64

__all__ = ["EXPORTS", "write_beside", "write_items"]

EXPORTS = {ExportFormat.PNG: export_pairs, ExportFormat.NNUNET: export_nnunet}
"""What writes each form."""


def write_items(
    writer: DatasetWriter,
    items: Sequence[Item],
    fold: Int64,
    reading: Reading,
    threads: int,
    progress: Progress,
) -> None:
    """Read all items and append their samples in order; what is there already is passed over.

    Raises
    ------
    SourceError, MismatchError, ArgumentError
        As :func:`skiptool.sources.pictures.samples.read_samples` and
        :meth:`skiptool.stores.dataset_writer.DatasetWriter.append`.
    """
    todo = [
        (item, int(number))
        for item, number in zip(items, fold, strict=True)
        if not all(writer.holds(item.row["domain"], name) for name in item.ids)
    ]

    def read(entry: tuple[Item, int]) -> list[Sample]:
        return list(read_samples(entry[0], reading, entry[1]))

    with progress.task("extract", len(items)) as task:
        task.advance(len(items) - len(todo))
        for samples in mapped(read, todo, threads):
            for sample in samples:
                if not writer.holds(sample.domain, sample.id):
                    writer.append(sample)
            task.advance()


def write_beside(
    out: Path,
    pictures: Path | None,
    export: tuple[ExportFormat, Path] | None,
    what: str,
    progress: Progress,
) -> tuple[Path, ...]:
    """Make what lies beside the finished store: sheets, exports.

    Parameters
    ----------
    out : Path
        The store.
    pictures : Path, optional
        Folder for contact sheets.
    export : (ExportFormat, Path), optional
        Form and folder of an export.
    what : str
        What a sample is called on the sheets.
    progress : Progress

    Returns
    -------
    tuple of Path
        The folders.
    """
    made = []
    if pictures is not None:
        data = open_dataset(out)
        pictures.mkdir(exist_ok=True)
        with progress.task("pictures", 1) as task:
            draw_sheets(pictures, data, what)
            task.advance()
        made.append(pictures)
    if export is not None:
        made.append(EXPORTS[export[0]](out, export[1], progress))
    return tuple(made)
