"""``skiptool train``, in parts: which models are made, how they run, what is written of them."""
