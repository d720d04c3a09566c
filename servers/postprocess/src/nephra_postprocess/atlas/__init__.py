"""A template anatomy carried to a patient: fitted, bent, thin structures as lines, pasted."""
