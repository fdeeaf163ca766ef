"""Tables of removed names: one file for each package."""
