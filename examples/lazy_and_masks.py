"""A mask of one's own, and a result that is computed when it is needed: python examples/lazy_and_masks.py."""

import ngr_geo

stack = ngr_geo.sample("slovenia").chunk(time=1, y=128, x=128)  # backed by Dask, as a large scene would be

mask = stack.ngr.cloud_mask(clouds="SCL", classes=[3, 8, 9], dilate=3)  # without cirrus, grown by three pixels
hazy = (stack.B02 > 2500) & ~mask  # what the classification missed
clear = stack.ngr.decloud(clouds=mask | hazy, method="guide")  # nothing is computed yet

one = clear.B08.sel(time="2023-08-10").isel(y=slice(0, 64), x=slice(0, 64)).compute()
print(f"{one.dtype}, {int(one.filled.sum())} of {one.size} pixels filled, CRS {one.rio.crs}")
