"""What imaging spectrometers say of their bands, and the text header of an ENVI image: what GDAL leaves out of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .rasterfile import Header

# What follows from the pixels and the grid, which GDAL writes itself.
_OF_THE_FILE = {
    *(
        "samples,lines,bands,header offset,file type,data type,interleave,byte order,map info,projection info,"
        "coordinate system string,rpc info,geo points,pixel size,band names,data ignore value"
    ).split(",")
}
_NUMBERS_OF_BANDS = "default bands"
_INTERLEAVES = {"BAND": "BSQ", "LINE": "BIL", "PIXEL": "BIP"}


SPECTRAL = ("wavelength", "fwhm", "bbl")
"""Numbers that files of imaging spectrometers hold for every band; `bbl`, the bad-band list, has 0 for bad."""


def spectral(header: Header) -> dict[str, tuple[float, ...]]:
    """Return the numbers in SPECTRAL, one per band, from the bands' own tags or from an ENVI header, where all bands have them."""
    found: dict[str, tuple[float, ...]] = {}
    listed = header.tags.get("ENVI", {})
    for name in SPECTRAL:
        texts = [band.tags.get(name, band.tags.get(name.upper(), "")) for band in header.bands]
        if not all(texts) and name in listed:
            texts = listed[name].strip("{} ").split(",")
        try:
            values = tuple(float(text) for text in texts)
        except ValueError:
            continue
        if len(values) == header.count:
            found[name] = values
    return found


def fields(path: Path) -> dict[str, str]:
    """Return the fields of an ENVI header by name, in lower case; lists keep their braces, on one line."""
    text = "\n".join(line for line in path.read_text(errors="replace").splitlines() if not line.startswith(";"))
    found = re.findall(r"^\s*([^={}\n]+?)\s*=[ \t]*(\{[^}]*\}|[^\n]*)", text, flags=re.MULTILINE)
    return {re.sub(r"\s+", " ", name.lower()): re.sub(r"\s+", " ", value).strip() for name, value in found}


def interleave(path: Path, header: Header) -> str:
    """Return how an ENVI image is to be laid out: as its ending says, else as its source was, else band by band."""
    if path.suffix.lower() in (".bil", ".bip", ".bsq"):
        return path.suffix[1:].upper()
    return _INTERLEAVES.get(header.structure.get("INTERLEAVE", ""), "BSQ") if header.driver == "ENVI" else "BSQ"


def described(header: Header) -> dict[str, str]:
    """Return the fields that a header's image should have beside those of its grid: lists, gains, whatever its source had."""
    listed = {key.replace("_", " "): value for key, value in header.tags.get("ENVI", {}).items()}
    found = {key: value for key, value in listed.items() if key not in _OF_THE_FILE}
    found |= {name: _list(f"{v:g}" for v in values) for name, values in spectral(header).items() if name not in found}
    units = header.bands[0].tags.get("wavelength_units")
    if units:
        found.setdefault("wavelength units", units)
    scales, offsets = ([getattr(band, name) for band in header.bands] for name in ("scale", "offset"))
    for name, values, neutral in (("gain", scales, 1.0), ("offset", offsets, 0.0)):
        if set(values) != {neutral}:
            found.setdefault(f"data {name} values", _list(map(repr, values)))
    return found


def subset(header: Header, tags: Mapping[str, str], bands: Sequence[int]) -> dict[str, str]:
    """Return the ENVI fields of a header with only some of its bands, numbers from 1: lists of bands are cut."""
    found = {}
    for name, value in tags.items():
        parts = [part.strip() for part in value.strip("{} ").split(",")] if value.startswith("{") else []
        if name.replace("_", " ") == _NUMBERS_OF_BANDS:
            numbers = [int(part) for part in parts if part.isdigit()]
            if not numbers or not set(numbers) <= set(bands):
                continue  # a band to show is gone
            found[name] = _list(str(list(bands).index(number) + 1) for number in numbers)
        elif len(parts) == header.count and header.count > 1:
            found[name] = _list(parts[band - 1] for band in bands)
        else:
            found[name] = value
    return found


def complete(path: Path, header: Header) -> None:
    """Rewrite the header file that GDAL wrote, with all that the image should say of itself."""
    written = fields(path)
    kept = {key: value for key, value in written.items() if key in _OF_THE_FILE}
    names = [name or f"band {number}" for number, name in enumerate(header.band_names, start=1)]
    kept["band names"] = _list(re.sub(r"[{},\n]", " ", name) for name in names)
    kept |= described(header)
    kept.setdefault("description", "{" + (header.name or path.stem) + "}")
    first = ["description", *(key for key in kept if key != "description")]
    path.write_text("\n".join(["ENVI", *(f"{key} = {kept[key]}" for key in first)]) + "\n")


def description(files: Sequence[str]) -> dict[str, str]:
    """Return the description in the header among an ENVI image's files, which GDAL does not pass on, as a tag."""
    heads = [Path(name) for name in files if name.lower().endswith(".hdr")]
    found = fields(heads[0]) if heads and heads[0].is_file() else {}
    return {key: found[key] for key in ("description",) if key in found}


def _list(values: Iterable[object]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"
