"""Results as people read them: figures, tables, and the page of all of them."""
