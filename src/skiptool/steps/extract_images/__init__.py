"""``skiptool extract images``: pictures and masks that users already have."""
