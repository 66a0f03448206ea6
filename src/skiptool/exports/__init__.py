"""What lies beside a dataset store: pictures to check it by, and its samples for other programs."""
