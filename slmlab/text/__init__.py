"""Files, tokenizers, corpora and datasets: everything there is before a model."""
