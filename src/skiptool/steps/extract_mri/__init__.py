"""``skiptool extract mri``: volumes to slices with masks."""
