"""Everything that needs torch: networks, training, inference, layer taps."""
