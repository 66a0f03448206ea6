"""Pixel counts and the scores derived from them."""
