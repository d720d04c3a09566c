"""The smoothing predictor: closed, smooth, named surfaces of label maps."""
