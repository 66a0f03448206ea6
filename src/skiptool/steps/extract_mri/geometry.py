"""Whether a mask is of its image: shape, and place in the body."""

from __future__ import annotations

from skiptool.errors import SourceError
from skiptool.sources.volumes.nifti import Volume
from skiptool.sources.volumes.orientation import displacement, spacings

__all__ = ["fit"]


def fit(volume: Volume, mask: Volume) -> tuple[Volume, list[str]]:
    """Refuse a mask that is not of its image; return it as it lies on it, and what to note.

    Parameters
    ----------
    volume, mask : Volume

    Returns
    -------
    mask : Volume
        Turned, where its axes lead elsewhere than those of its image.
    notes : list of str

    Raises
    ------
    SourceError
        If their shapes differ, or their headers put a corner further apart than half of the
        smallest distance between voxels. A mask whose header says nothing is noted instead.
    """
    if volume.placed and mask.placed and not _lies_on(volume, mask):
        turned = mask.turned_onto(volume)
        if _lies_on(volume, turned):
            line = f"{mask.path}: its axes point in other directions than those of its image"
            return turned, [f"{line}; it is reoriented by its header", *_noted(mask)]
    if mask.shape[:3] != volume.shape[:3] or mask.frames not in (1, volume.frames):
        raise SourceError(
            f"{mask.path}: mask is {_by(mask)}, its image {_by(volume)}; both must have one shape"
        )
    if volume.placed and not mask.placed:
        return mask, [f"{mask.path}: {mask.note}; it is laid over its image voxel by voxel"]
    apart = displacement(volume.affine, mask.affine, volume.shape)
    if volume.placed and not _lies_on(volume, mask):
        raise SourceError(
            f"{mask.path}: its header puts it up to {apart:.3g} mm beside its image "
            f"({volume.path.name}); resample the mask to the image, or give it the image's affine "
            "if it was drawn on its voxels"
        )
    return mask, _noted(mask)


def _lies_on(volume: Volume, mask: Volume) -> bool:
    """Say whether the corners of two volumes of one shape are within half a voxel."""
    apart = displacement(volume.affine, mask.affine, volume.shape)
    return mask.shape[:3] == volume.shape[:3] and apart <= min(spacings(volume.affine)) / 2


def _noted(mask: Volume) -> list[str]:
    return [f"{mask.path}: {mask.note}"] if mask.note and mask.placed else []


def _by(volume: Volume) -> str:
    shape = volume.shape if volume.frames > 1 else volume.shape[:3]
    return " x ".join(map(str, shape)) + " voxels"
