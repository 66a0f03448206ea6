"""Readers of what others made: pictures, annotations, templates."""
