"""What metric tables say together: differences of architectures, distances beside losses of IoU."""
