"""What `workflows/benchmark.py` measures: quality, time, memory and the expected error, against simple methods."""
