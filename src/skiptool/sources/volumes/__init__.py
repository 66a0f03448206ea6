"""Volumes of magnetic resonance imaging: NIfTI files, frame by frame and slice by slice."""
