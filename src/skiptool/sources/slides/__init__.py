"""Whole-slide images read through OpenSlide: headers, pixels at any resolution, tissue."""
