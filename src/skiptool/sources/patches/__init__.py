"""Patches of slides: where they are placed, and their masks."""
