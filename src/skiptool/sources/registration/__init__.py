"""Registration of scans of one glass slide by different scanners."""
