"""``skiptool report``: a page, figures and numbers from metric tables."""
