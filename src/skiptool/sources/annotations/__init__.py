"""Readers of annotation files, each format in a file of its own."""
