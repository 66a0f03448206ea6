"""Measurements of speed and of statistics, run on demand; see the first lines of each."""
