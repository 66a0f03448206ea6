"""Aligning scans of one glass slide by different scanners."""
