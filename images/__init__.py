"""What the Dockerfiles share: the closure of a service, trimming, proofs, building and sizes."""
