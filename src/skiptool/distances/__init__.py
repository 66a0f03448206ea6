"""Distances between distributions of activations."""
