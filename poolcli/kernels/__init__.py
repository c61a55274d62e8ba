"""Array to array, NumPy alone: where windows lie, what is done in them, and exact casts."""
