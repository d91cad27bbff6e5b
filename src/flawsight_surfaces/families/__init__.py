"""Perfect surfaces and parts, one function each."""
