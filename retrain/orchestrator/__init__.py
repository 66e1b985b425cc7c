"""What starts the next turn of the wheel: counts → decide (pure) → start."""
