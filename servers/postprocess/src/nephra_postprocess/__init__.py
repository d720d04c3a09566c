"""nephra predictor: label maps repaired and completed."""
