"""nephra's nnU-Net predictor: the phases of a CT in, label maps out."""
