"""Pictures and label masks of any depth, the tables that list them, and samples made of them."""
