"""Synthetic blood smears of section III.A: templates cut from pictures, scenes made of them."""
