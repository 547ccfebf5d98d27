"""Results as people read them: figures and tables."""
