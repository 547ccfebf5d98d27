"""What the command line does, as functions: one protocol a file."""
