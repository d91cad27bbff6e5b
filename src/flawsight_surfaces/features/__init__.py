"""What belongs on a surface or does no harm there."""
