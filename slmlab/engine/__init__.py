"""The model and its training, decoding and storage. Knows nothing of the course around it."""
