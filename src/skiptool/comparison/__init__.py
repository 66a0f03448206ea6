"""Two sets of activations compared, layer by layer, whatever they are stored in."""
