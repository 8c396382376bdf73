"""Clouds off a Sentinel-2 stack in an xarray workflow: python examples/decloud_sentinel2.py [folder for the picture]."""

import sys
from pathlib import Path

import ngr_geo
from ngr_geo.report.pictures import quicklook

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "examples_out")
folder.mkdir(exist_ok=True)

stack = ngr_geo.sample("slovenia")  # a Dataset (time, y, x): B02, B03, B04, B08 and the scene classification SCL
clear = stack.ngr.decloud(clouds="SCL", dates="2023-08-18")  # the other dates help, and stay as they are

# `filled` says which pixels were filled: here the mean NDVI with and without the filled pixels.
red, infrared = clear.B04.astype(float), clear.B08.astype(float)
ndvi = ((infrared - red) / (infrared + red)).sel(time="2023-08-18")
print(f"NDVI {float(ndvi.mean()):.3f}, of pixels that were seen {float(ndvi.where(~ndvi.filled).mean()):.3f}")

for date in clear.ngr.record.dates:
    if date.filled:
        print(
            f"{date.date}: {date.filled:.0%} filled by {date.method}, "
            f"RMSE expected there {date.expected['B04'].rmse:.0f} DN in B04; kept by {date.chosen_by}"
        )

# Do not trust it where no date saw the ground, nor for what changed between the dates: see `filled`, and compare.
quicklook(stack, clear, clear.filled, folder / "decloud.png", dates=["2023-08-18"])
print(folder / "decloud.png")
