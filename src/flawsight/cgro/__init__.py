"""CGRO, consistency-guided reasoning optimization: training with image-level labels only."""
