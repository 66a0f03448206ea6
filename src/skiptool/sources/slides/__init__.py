"""Whole-slide images through OpenSlide: headers, pixels at any resolution, tissue."""
