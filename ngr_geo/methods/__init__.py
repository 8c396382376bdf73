"""What restores: methods that learn from a sample of the scene and solve tiles, and how they are judged."""
