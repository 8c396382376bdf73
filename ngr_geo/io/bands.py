"""Which band a file of one band holds, by its name. No file is opened here."""

import re
from dataclasses import dataclass

from ..errors import InputError
from . import names

_COLOURS = "blue|green|red|nir|nir08|nir09|red[-_]?edge[-_]?[1-4]?|swir|swir[-_]?[12]|swir16|swir22|pan|coastal|cirrus|thermal|tir"
_NUMBERED = r"(?:(?:SR|ST|TOA|BOA|FRE|SRE|sur_refl|Nadir_Reflectance)[-_])?(?:BAND[-_]?|B)\d{1,3}A?"
_POLARISATIONS = "VV|VH|HH|HV"
_METRES = r"(?:[-_]?\d{1,4}m)?"

# Names that agencies give; `band` is what differs between the files of one acquisition.
_PRODUCTS = tuple(
    re.compile(text, re.IGNORECASE)
    for text in (
        rf"^(?:L2A_)?T\d\d[A-Z]{{3}}_\d{{8}}T\d{{6}}_(?P<band>[A-Z0-9]+){_METRES}$",  # Sentinel-2, ESA
        r"^SENTINEL2[A-D]_.+?_(?P<band>(?:FRE|SRE)_B\d{1,2}A?|[A-Z]{3}_R[12])$",  # Sentinel-2, MAJA
        r"^L[COTEM]\d\d_[A-Z0-9]{2,4}_\d{6}_\d{8}_\d{8}_\d\d(?:_(?:T1|T2|RT|A1|A2))?_(?P<band>[A-Z]\w*)$",  # Landsat, USGS
        r"^L[A-Z]\d{14}[A-Z]{3}\d\d_(?P<band>[A-Z]\w*)$",  # Landsat before collections
        r"^HLS\.[SL]30\.T\d\d[A-Z]{3}\.\d{7}T\d{6}\.v\d+\.\d+\.(?P<band>\w+)$",  # HLS, NASA
        r"^(?:CBERS|AMAZONIA)_.+_(?P<band>BAND\d{1,2}[A-Z]?|CMASK|EVI|NDVI)$",  # CBERS and Amazonia, INPE
        r"^[A-Z0-9]+\.\d{3}_(?P<band>\w+?)_doy\d{7}(?:_aid\d+)?$",  # MODIS, VIIRS, HLS by AppEEARS
        rf"^S1[A-D]-[A-Z0-9]{{2}}-[A-Z]{{3}}-(?P<band>{_POLARISATIONS})-",  # Sentinel-1, ESA
        rf"(?:^|[_.-])(?P<band>{_NUMBERED}|{_COLOURS}|{_POLARISATIONS}){_METRES}$",  # MapBiomas, Earth Engine, and most others
    )
)
# What comes along with the bands and is no image: angles, aerosols, saturation, pictures, parts of the temperature product.
_NO_BAND = re.compile(
    r"^(?:TCI|AOT|WVP|PVI|SNW|(?:SR_)?QA_.*|SR_QA_AEROSOL|SR_ATMOS_OPACITY|SR_CLOUD_QA|RADSAT_QA|SR_AEROSOL|"
    r"ST_(?:QA|ATRAN|CDIST|DRAD|EMIS|EMSD|TRAD|URAD)|[SV][AZ]A|(?:solar|sensor)_(?:azimuth|zenith).*|MSK_\w+|"
    r"(?:ATB|CLM|EDG|SAT|MG2|IAO|DFP|USI|DTF)_R[12]|CMASK)$",
    re.IGNORECASE,
)
NUMBERING = {
    **dict.fromkeys(("S30",), "Sentinel-2"),
    **dict.fromkeys(("L30", "LC08", "LC09", "LO08", "LO09"), "Landsat 8 and 9"),
    **dict.fromkeys(("LT04", "LT05", "LE07"), "Landsat 4 to 7"),
}
"""How sensors of one family of products number their bands: those of one numbering can be stacked."""
_SENSOR = re.compile(r"^(?:HLS\.([SL]30)\.|(L[COTE]0[4-9])_)", re.IGNORECASE)
HELP = "--band-pattern '_(B\\d+)' (band_pattern= in Python; a group around the band, or '*_{band}_*')"


@dataclass(frozen=True)
class Named:
    """The band that a name holds, and what is left of the name: that of the acquisition ("" where nothing is left)."""

    band: str
    scene: str

    @property
    def is_image(self) -> bool:
        """Whether it is a band to work on, and not an angle, a quality layer or a picture."""
        return not _NO_BAND.match(self.band)


def in_name(file: str, pattern: str | None = None) -> Named | None:
    """Return the band in a file's name, or None where there is none.

    Args:
        file: the name, without folder.
        pattern: a regular expression with a group around the band, or the name with {band} where the band stands and * for
            what changes.

    Raises:
        InputError: the pattern is none, or does not fit the name.
    """
    stem = names.stem(file)
    if pattern is not None:
        match = _compiled(pattern).search(stem)
        if match is None or not (match.groupdict().get("band") or match[1]):
            msg = (
                f"{file}: the band pattern {pattern!r} finds no band in this name. Expected a part of the name: {HELP}."
            )
            raise InputError(msg)
        return _named(stem, match, "band" if "band" in match.groupdict() else 1)
    for product in _PRODUCTS:
        match = product.search(stem)
        if match is not None:
            return _named(stem, match, "band")
    return None


def sensor(file: str) -> str | None:
    """Return the sensor in the name of a band file of HLS or Landsat, None in any other."""
    match = _SENSOR.match(file)
    found = match and (match[1] or match[2]).upper()
    return found if found in NUMBERING else None


def in_order(band: str) -> tuple[tuple[str, int], ...]:
    """Return what bands are sorted by: B1, B2, ..., B8, B8A, B9, B10, ..."""
    return tuple((text.lower(), int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", band))


def _compiled(pattern: str) -> re.Pattern[str]:
    if "{band}" in pattern:
        parts = re.split(r"(\{band\}|\*)", pattern)
        known = {"{band}": r"(?P<band>[A-Za-z0-9]+)", "*": ".*?"}
        return re.compile("".join(known.get(part, re.escape(part)) for part in parts))
    return names.expression(pattern, "band", "{band}", HELP)


def _named(stem: str, match: re.Match[str], group: str | int) -> Named:
    start, end = match.span(group)
    rest = re.sub(r"^[-_]?\d{1,4}m(?=[-_.]|$)", "", stem[end:])  # a resolution is the band's, not the acquisition's
    scene = "_".join(part for part in (stem[:start].rstrip("_.-"), rest.strip("_.-")) if part)
    return Named(match[group], scene)
