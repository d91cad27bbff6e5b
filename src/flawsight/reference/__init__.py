"""Learning from good photos: their patch features as a memory. Beyond the paper."""
