"""Exports of a dataset store: contact sheets, and samples for other programs."""
