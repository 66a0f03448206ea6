"""``skiptool extract wsi``: slides of several scanners to matched patches with masks.

extract_wsi   the step: options, the run, and the table of a dry run
settings      options that determine the patches, the context of a run, the registration cache
survey        opens slides, reads annotations, assigns labels and splits, groups scans
registration  places patches, aligns scans, transfers patches to other scans
plan          plans all patches, outlines objects, reads samples
predicted     masks from a trained model; the only module that imports torch
writing       writes samples and the table of registration
pictures      draws slides, registered scans and contact sheets

May import everything below ``steps``, but no other step.
"""
