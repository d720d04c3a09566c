"""`python -m nephra_smoothing bench`: what surfaces cost, and how near to the truth they lie."""
