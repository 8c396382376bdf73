"""What is shown of a result: page, pictures, tables, tile map, STAC items."""
