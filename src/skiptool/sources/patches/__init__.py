"""Where patches are taken from a slide, and what their masks show."""
