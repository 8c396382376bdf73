"""Rasters: read as cubes, their masks, areas of interest, and what of them counts."""
