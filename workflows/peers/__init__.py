"""Methods that others use or have published, with their sources: what `workflows/benchmark.py` compares ngr_geo with."""
