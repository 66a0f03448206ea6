"""Pictures and label masks as files, and the manifests that list them.

- `files`: read and write pictures and masks of at most 8 bits per channel;
- `deep`: deeper pictures, and TIFFs that Pillow would truncate;
- `intensities`: pictures of any depth in the two forms of a dataset store;
- `labels`: mapping from the values or colours of a mask to labels;
- `manifest`: manifests (CSV), and folders of images and masks with matching names;
- `nnunet`: dataset folders of nnU-Net;
- `samples`: rows of a manifest to samples.

May import `sources.paths`.
"""
