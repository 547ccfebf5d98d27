"""One folder format, one resume and one provenance for every protocol."""
