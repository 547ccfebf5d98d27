"""What every room needs: a model borrowed and given back, targets, checks of what the user gave."""
