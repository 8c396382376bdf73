"""Quality and speed, measured: `python workflows/benchmark.py --help`."""

from benchmarks.decloud import main

if __name__ == "__main__":
    main()
