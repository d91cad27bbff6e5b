"""Everything that makes or reads images and their labels."""
