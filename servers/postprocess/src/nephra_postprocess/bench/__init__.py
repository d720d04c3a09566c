"""`python -m nephra_postprocess bench`: how well tubes are rejoined, fat drawn, anatomy carried."""
