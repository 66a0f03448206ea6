"""Pictures and label masks as files, and the manifests that list them."""
