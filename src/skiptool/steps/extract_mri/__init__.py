"""``skiptool extract mri``: MR volumes to slices with masks.

extract_mri  the step: lists, splits and writes volumes, draws contact sheets
settings     options that determine the slices
survey       opens volumes, matches masks, counts labels, reads slices

May import everything below ``steps``, but no other step.
"""
