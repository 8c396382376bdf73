"""A whole job to copy and edit: dated GeoTIFFs and their classification in, cloud-free GeoTIFFs out, through the public names.

python workflows/decloud_geotiffs.py [folder with S2_*.tif and SCL_*.tif] [output folder]
"""

import sys
from pathlib import Path

import ngr_geo
from ngr_geo.io import check_output, read_stack, write_stack


def main(source: Path, target: Path) -> None:
    """Read, check, fill, write."""
    stack = read_stack(sorted(source.glob("S2_*.tif")), clouds=sorted(source.glob("SCL_*.tif")))
    check_output(target, stack)  # before any work: is there room, may it be written, would it overwrite anything
    clear = stack.raster.ngr.decloud(stack.clouds)
    written = write_stack(clear, stack, target)
    print(*written.all, sep="\n")


if __name__ == "__main__":
    folders = [Path(a) for a in sys.argv[1:3]]
    main(
        folders[0] if folders else ngr_geo.sample_path("slovenia"),
        folders[1] if len(folders) > 1 else Path("decloud_out"),
    )
