"""Networks and data of known truth, for tests, tutorials and users."""
