"""The demo bundles: small nnU-Nets trained on phantoms with the real nnU-Net."""
