"""Does a checkpoint work on this machine? Checks that compare, one finding each."""
