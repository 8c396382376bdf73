"""Tiles, where they are solved, and the folder that keeps them."""
