"""Statistics that stream and add up, and intervals and tests."""
