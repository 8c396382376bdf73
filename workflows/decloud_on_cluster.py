"""A whole job to copy and edit: a scene larger than memory, its tiles on a Dask cluster, and on again from where it was stopped.

Start a cluster, on this machine or on several that share a disk:

    export MALLOC_TRIM_THRESHOLD_=268435456 MALLOC_MMAP_THRESHOLD_=268435456      # Dask's own setting is three times slower here
    dask scheduler --port 8786
    dask worker tcp://HOST:8786 --nworkers 4 --nthreads 1               # CPUs: one thread each
    CUDA_VISIBLE_DEVICES=0 dask worker tcp://HOST:8786 --nthreads 1 --resources "GPU=1"      # one of these per GPU

and then

    python workflows/decloud_on_cluster.py tcp://HOST:8786 [folder with S2_*.tif and SCL_*.tif] [output folder]

Where workers declare `GPU` each tile asks for one. On SLURM the cluster comes from dask-jobqueue instead, and the rest stays:

    from dask_jobqueue import SLURMCluster
    cluster = SLURMCluster(cores=1, processes=1, memory="8GB", walltime="02:00:00")     # one worker per job
    cluster.scale(jobs=20)                                  # for GPUs: worker_extra_args=["--resources", "GPU=1"]
    client = Client(cluster)
"""

import shutil
import sys
from pathlib import Path

from distributed import Client, LocalCluster

import ngr_geo
from ngr_geo.io import check_output, read_stack, write_stack


def main(client: Client, source: Path, target: Path) -> None:
    """Read, check, solve on the cluster, write here."""
    stack = read_stack(sorted(source.glob("S2_*.tif")), clouds=sorted(source.glob("SCL_*.tif")), lazy=True)
    check_output(target, stack)  # before any work: is there room, may it be written, would it overwrite anything
    work = target.with_name(f"{target.name}.ngr-work")  # all workers have to see it
    with client:  # run again after a crash, finished tiles are not solved again
        clear = stack.raster.ngr.decloud(stack.clouds, work=work)
    written = write_stack(clear, stack, target)  # blended and written block by block
    shutil.rmtree(work)
    print(*written.all, sep="\n")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(
        Client(arguments[0]) if arguments else Client(LocalCluster(n_workers=2, threads_per_worker=1)),
        Path(arguments[1]) if len(arguments) > 1 else ngr_geo.sample_path("slovenia"),
        Path(arguments[2]) if len(arguments) > 2 else Path("decloud_out"),
    )
