"""``skiptool report``: what metric tables say, as a page, as figures and as numbers."""
