"""Controlled domain shifts of single images."""
