"""``skiptool extract wsi``: slides of several scanners to matched patches with masks."""
