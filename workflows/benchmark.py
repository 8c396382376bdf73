"""Measures quality and speed of ngr_geo beside simple methods.

python workflows/benchmark.py {country,decloud,equal-time,gpu,hyperspectral,scale,trust} [options]

It needs the development data: the folder that NGR_GEO_DATA names, by default ../shared/data. Tables are printed; `decloud` and
`hyperspectral` also write them below --out. `python workflows/benchmark.py decloud --help` lists the options of one benchmark.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks import against, common, country, decloud, gpu, hyperspectral, scale, trust
from benchmarks.cases import PROTOCOLS
from benchmarks.common import OURS
from benchmarks.faults import CUBES, TASKS
from peers.table import METHODS


def main() -> None:
    """Run the benchmark that the command line names."""
    parser = _parser()
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
    if chosen.benchmark == "country":
        country.run(chosen.tiles, chosen.sleep, chosen.workers, chosen.threads, chosen.out)
        return
    if chosen.benchmark == "gpu":
        gpu.check()
    if not common.DATA.is_dir():
        parser.error(f"the development data is not at {common.DATA}: set NGR_GEO_DATA")
    if chosen.benchmark == "decloud":
        decloud.run(chosen.cases, chosen.methods, chosen.peers, chosen.resume, chosen.paper, chosen.out)
    elif chosen.benchmark == "equal-time":
        decloud.equal_time(chosen.seconds)
    elif chosen.benchmark == "hyperspectral":
        hyperspectral.run(chosen.cubes, chosen.tasks, chosen.seeds, chosen.paper, chosen.out)
    elif chosen.benchmark == "scale" and chosen.against:
        against.run(chosen.against, chosen.repeats)
    elif chosen.benchmark == "scale":
        scale.run(chosen.parts, chosen.sizes, chosen.method, chosen.out)
    elif chosen.benchmark == "gpu":
        gpu.run(chosen.parts, chosen.size, chosen.tiles, chosen.steps)
    else:
        trust.of_dates(chosen.cases)
        trust.of_cubes(chosen.cubes, chosen.tasks, chosen.method, chosen.seeds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    each = parser.add_subparsers(dest="benchmark", required=True)
    of_clouds = each.add_parser("decloud", help="clouds on real stacks: PSNR, SAM, seconds and memory")
    of_time = each.add_parser("equal-time", help="the published algorithm in as many seconds as the default takes")
    of_faults = each.add_parser("hyperspectral", help="simulated faults on clean cubes: PSNR, SSIM, SAM and ERGAS")
    of_scenes = each.add_parser("scale", help="how time and memory grow with the scene")
    of_country = each.add_parser("country", help="what a scheduler costs for a great many tiles; needs no data")
    of_gpus = each.add_parser(
        "gpu", help="tiles a second, share of peak and memory of a GPU, beside the CPU; paper in full"
    )
    of_errors = each.add_parser("trust", help="expected errors and intervals against the true errors")

    for one in (of_clouds, of_errors):
        one.add_argument("--cases", nargs="*", default=decloud.TABLE, choices=PROTOCOLS, help="protocols")
    for one, tasks in ((of_faults, list(TASKS)), (of_errors, [task for task in TASKS if task != "harsh"])):
        one.add_argument("--cubes", nargs="*", default=list(CUBES), choices=CUBES, help="clean cubes")
        one.add_argument("--tasks", nargs="+", default=tasks, choices=TASKS, help="faults")
        one.add_argument("--seeds", type=int, default=3, help="how many draws of each fault")
    of_clouds.add_argument(
        "--methods", nargs="+", default=(), choices=[*METHODS, *OURS], metavar="NAME", help="only these methods"
    )
    of_clouds.add_argument("--peers", action="store_true", help="also published methods: some take minutes a case")
    of_clouds.add_argument(
        "--resume", action="store_true", help="keep the rows of OUT/decloud.csv, measure what it lacks"
    )
    for one in (of_clouds, of_faults):
        one.add_argument("--paper", type=int, metavar="STEPS", help="also the published algorithm, with so many steps")
    for one in (of_clouds, of_faults, of_scenes, of_country):
        one.add_argument("--out", type=Path, default=Path("benchmark"), help="folder for tables and temporary scenes")
    for one in (of_scenes, of_errors):
        one.add_argument("--method", default="auto", help="how ngr_geo fills")
    of_time.add_argument("--seconds", type=float, default=0.0, help="the budget; default: what `auto` takes")
    of_scenes.add_argument("--sizes", nargs="+", type=int, default=[1000, 2000, 4000, 8000], help="sides of the scenes")
    of_scenes.add_argument("--parts", nargs="+", default=list(scale.PARTS), choices=scale.PARTS, help="what to measure")
    of_gpus.add_argument("--parts", nargs="+", default=list(gpu.PARTS), choices=gpu.PARTS, help="what to measure")
    of_gpus.add_argument("--size", type=int, default=2048, help="side of the scene")
    of_gpus.add_argument("--tiles", nargs="+", type=int, default=[256, 512, 1024], help="sides of its tiles")
    of_gpus.add_argument("--steps", type=int, help="of the published algorithm; default: all 15 000")
    of_country.add_argument("--tiles", type=int, default=100_000, help="how many tiles")
    of_country.add_argument("--sleep", type=float, default=0.1, help="seconds that each takes")
    of_country.add_argument("--workers", type=int, default=2, help="processes")
    of_country.add_argument("--threads", type=int, default=64, help="tiles at a time in each process")
    of_scenes.add_argument("--against", metavar="VERSION", help="only compare times with a tag, commit or checkout")
    of_scenes.add_argument("--repeats", type=int, default=3, help="how often each job is timed with --against")
    return parser


if __name__ == "__main__":
    main()
