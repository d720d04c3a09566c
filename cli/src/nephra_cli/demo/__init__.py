"""What `nephra demo` needs beyond the commands: a patient, its truth, and pictures."""
