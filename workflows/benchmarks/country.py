"""What a scheduler costs: many tile tasks that sleep, on a real cluster of processes on this machine.

A tile that sleeps takes no core, so that a laptop can stand for a cluster: `workers` processes with `threads` tiles each. What the
run takes beyond the sleeping is what scheduler, connections and workers take for a task; the scheduler's own share is the
processor time of its process.
"""

from __future__ import annotations

import time
from pathlib import Path

BATCH = 2000
"""Tasks that are sent to the scheduler at a time."""


def run(tiles: int, seconds: float, workers: int, threads: int, out: Path) -> None:
    """Print how long so many tiles of so many seconds take, and what of that is overhead; also write it as a line of CSV."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=threads, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        before, begun = client.run_on_scheduler(time.process_time), time.perf_counter()
        futures = client.map(_tile, range(tiles), seconds=seconds, pure=False, batch_size=BATCH)
        found = client.submit(
            sum, [client.submit(sum, futures[i : i + BATCH]) for i in range(0, tiles, BATCH)]
        ).result()
        wall, busy = time.perf_counter() - begun, client.run_on_scheduler(time.process_time) - before
    assert found == sum(range(tiles))
    ideal = tiles * seconds / (workers * threads)
    row = {
        "tiles": tiles,
        "seconds a tile": seconds,
        "at a time": workers * threads,
        "ideal, s": round(ideal, 1),
        "taken, s": round(wall, 1),
        "wall beyond, ms a task": round(1e3 * (wall - ideal) / tiles, 3),
        "scheduler and client, ms a task": round(1e3 * busy / tiles, 3),
    }
    for name, value in row.items():
        print(f"{name:>32} {value}")
    out.mkdir(parents=True, exist_ok=True)
    lines = (",".join(row), ",".join(map(str, row.values())))
    (out / "country.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _tile(number: int, seconds: float) -> int:
    """Sleep as long as a tile takes."""
    time.sleep(seconds)
    return number
