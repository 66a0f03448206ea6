"""Analysis of metric tables: differences between networks, distances of layers, losses of IoU."""
