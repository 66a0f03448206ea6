"""Figures and the report page, drawn from plain arrays."""
