"""Readers of everything that samples are extracted from."""
