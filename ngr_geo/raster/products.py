"""What the layers of quality of satellite products hold: one table, as data.

A `Rule` says how one product is laid out, what each of its classes or bits means, and which of them make a pixel not clear. Nothing
here reads a pixel; `codes` chooses among the rules by what a mask holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .layout import Flag, Rule


def _class(code: int, meaning: str, counts: bool = False) -> Flag:
    return Flag(meaning, (code,), None, counts)


def _bit(number: int, meaning: str, counts: bool = False) -> Flag:
    return Flag(meaning, (), 1 << number, counts)


def _field(low: int, high: int, values: Sequence[int], meaning: str, counts: bool = False) -> Flag:
    return Flag(meaning, tuple(v << low for v in values), _ones(low, high), counts)


def _ones(low: int, high: int) -> int:
    return sum(1 << n for n in range(low, high + 1))


RULES = (
    Rule(
        "SCL",
        "Sentinel-2 Level-2A scene classification",
        ("SCL", "scene_classification"),
        (
            _class(0, "no data", True),
            _class(1, "saturated or defective", True),
            _class(2, "dark area or cast shadow"),
            _class(3, "cloud shadow", True),
            _class(4, "vegetation"),
            _class(5, "not vegetated"),
            _class(6, "water"),
            _class(7, "unclassified"),
            _class(8, "cloud, medium probability", True),
            _class(9, "cloud, high probability", True),
            _class(10, "thin cirrus", True),
            _class(11, "snow or ice"),
        ),
        "ESA, Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD)",
    ),
    Rule(
        "QA_PIXEL",
        "Landsat Collection 2",
        ("QA_PIXEL", "pixel_quality"),
        (
            _bit(0, "fill", True),
            _bit(1, "dilated cloud", True),
            _bit(2, "cirrus, high confidence", True),
            _bit(3, "cloud", True),
            _bit(4, "cloud shadow", True),
            _bit(5, "snow"),
            _bit(6, "clear"),
            _bit(7, "water"),
        ),
        "USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), QA_PIXEL",
        "bits",
        largest=_ones(0, 15),
        always=(
            _ones(8, 9),
            _ones(10, 11),
            _ones(12, 13),
        ),  # the confidences of cloud, shadow and snow are at least "low"
        rivals=("pixel_qa",),
    ),
    Rule(
        "pixel_qa",
        "Landsat Collection 1 surface reflectance",
        ("pixel_qa", "PIXELQA"),
        (
            _bit(0, "fill", True),
            _bit(1, "clear"),
            _bit(2, "water"),
            _bit(3, "cloud shadow", True),
            _bit(4, "snow"),
            _bit(5, "cloud", True),
            _field(6, 7, (1, 2, 3), "confidence of cloud"),
            _field(8, 9, (3,), "cirrus, high confidence", True),
            _bit(10, "terrain occlusion", True),
        ),
        "USGS, Landsat 8 Collection 1 Land Surface Reflectance Code (LaSRC) Product Guide (LSDS-1368), pixel_qa",
        "bits",
        largest=_ones(0, 10),
        always=(_ones(6, 7),),
        rivals=("QA_PIXEL",),
    ),
    Rule(
        "BQA_C1",
        "Landsat Collection 1 Level 1",
        ("BQA_C1", "BQA"),
        (
            _bit(0, "fill", True),
            _bit(1, "terrain occlusion or dropped pixel", True),
            _field(2, 3, (1, 2, 3), "bands saturated"),
            _bit(4, "cloud", True),
            _field(5, 6, (1, 2, 3), "confidence of cloud"),
            _field(7, 8, (3,), "cloud shadow, high confidence", True),
            _field(9, 10, (3,), "snow, high confidence"),
            _field(11, 12, (3,), "cirrus, high confidence", True),
        ),
        "USGS, Landsat Collection 1 Level-1 Quality Assessment Band",
        "bits",
        largest=_ones(0, 12),
        always=(_ones(5, 6),),
        rivals=("BQA_PRE",),
    ),
    Rule(
        "BQA_PRE",
        "Landsat 8 before the collections",
        ("BQA_PRE",),
        (
            _bit(0, "fill", True),
            _bit(1, "dropped frame", True),
            _bit(2, "terrain occlusion", True),
            _field(4, 5, (2, 3), "water"),
            _field(6, 7, (2, 3), "cloud shadow (reserved)", True),
            _field(10, 11, (2, 3), "snow or ice"),
            _field(12, 13, (3,), "cirrus, high confidence", True),
            _field(14, 15, (2, 3), "cloud, medium or high confidence", True),
        ),
        "USGS, Landsat 8 Quality Assessment Band, before April 2017",
        "bits",
        largest=_ones(0, 15),
        always=(_ones(12, 13), _ones(14, 15)),
        never=1 << 3,
    ),
    Rule(
        "QA_RADSAT",
        "Landsat Collection 2 radiometric saturation",
        ("QA_RADSAT",),
        (
            *(_bit(n, f"saturated, bit {n}", True) for n in range(9)),
            _bit(9, "dropped pixel", True),
            _bit(11, "terrain occlusion"),
        ),
        "USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), QA_RADSAT",
        "bits",
        largest=_ones(0, 11),
    ),
    Rule(
        "radsat_qa",
        "Landsat Collection 1 radiometric saturation",
        ("radsat_qa",),
        (_bit(0, "fill", True), *(_bit(n, f"saturated, band {n}", True) for n in range(1, 12))),
        "USGS, Landsat 8 Collection 1 Land Surface Reflectance Code (LaSRC) Product Guide (LSDS-1368), radsat_qa",
        "bits",
        largest=_ones(0, 11),
    ),
    Rule(
        "SR_CLOUD_QA",
        "Landsat 4 to 7 surface reflectance (LEDAPS)",
        ("SR_CLOUD_QA", "cloud_qa"),
        (
            _bit(0, "dark dense vegetation"),
            _bit(1, "cloud", True),
            _bit(2, "cloud shadow", True),
            _bit(3, "adjacent to cloud", True),
            _bit(4, "snow"),
            _bit(5, "water"),
        ),
        "USGS, Landsat 4-7 Surface Reflectance (LEDAPS) Product Guide, sr_cloud_qa",
        "bits",
        largest=_ones(0, 5),
    ),
    Rule(
        "Fmask",
        "Fmask classes",
        ("Fmask",),
        (
            _class(0, "land"),
            _class(1, "water"),
            _class(2, "cloud shadow", True),
            _class(3, "snow"),
            _class(4, "cloud", True),
            _class(255, "no observation", True),
        ),
        "Zhu and Woodcock, Fmask (Remote Sensing of Environment 118, 2012; 159, 2015)",
        rivals=("HLS",),
    ),
    Rule(
        "HLS",
        "Harmonized Landsat Sentinel-2, Fmask bits",
        ("HLS Fmask", "HLS_Fmask", "HLS"),
        (
            Flag("fill", (255,), None, True),
            _bit(1, "cloud", True),
            _bit(2, "adjacent to cloud or shadow", True),
            _bit(3, "cloud shadow", True),
            _bit(4, "snow or ice"),
            _bit(5, "water"),
            _field(6, 7, (1, 2, 3), "aerosol"),
        ),
        "NASA, HLS Product User Guide, version 2.0, table on the quality layer",
        "bits",
        largest=255,
        never=1 << 0,
    ),
    Rule(
        "QA60",
        "Sentinel-2 Level-1C cloud mask",
        ("QA60",),
        (_bit(10, "opaque cloud", True), _bit(11, "cirrus", True)),
        "Google Earth Engine catalogue, COPERNICUS/S2_SR_HARMONIZED, QA60",
        "bits",
        largest=_ones(10, 11),
        never=_ones(0, 9),
    ),
    Rule(
        "OmniCloudMask",
        "OmniCloudMask",
        ("OmniCloudMask", "omni_cloud_mask", "OCM"),
        (
            _class(0, "clear"),
            _class(1, "thick cloud", True),
            _class(2, "thin cloud", True),
            _class(3, "cloud shadow", True),
        ),
        "Wright et al., OmniCloudMask (Remote Sensing of Environment 322, 2025)",
    ),
    Rule(
        "CLM",
        "Sentinel Hub cloud mask (s2cloudless)",
        ("CLM",),
        (_class(0, "no cloud"), _class(1, "cloud", True), _class(255, "no data", True)),
        "Sentinel Hub documentation, Sentinel-2 L1C and L2A, CLM",
    ),
    Rule(
        "dataMask",
        "Sentinel Hub data mask",
        ("dataMask",),
        (_class(0, "no data", True), _class(1, "data")),
        "Sentinel Hub documentation, dataMask",
    ),
    Rule(
        "UDM2",
        "Planet usable data mask 2, its eight bands as bits",
        ("UDM2_PACKED",),
        (
            _bit(0, "clear"),
            _bit(1, "snow"),
            _bit(2, "shadow", True),
            _bit(3, "light haze", True),
            _bit(4, "heavy haze", True),
            _bit(5, "cloud", True),
            _bit(7, "unusable", True),
        ),
        "Planet, UDM 2.1 documentation",
        "bits",
        largest=255,
        never=1 << 6,
    ),
    Rule(
        "UDM2_CLEAR",
        "Planet usable data mask 2, band 1",
        ("UDM2_CLEAR", "UDM2"),
        (_class(0, "not clear", True), _class(1, "clear")),
        "Planet, UDM 2.1 documentation",
        rivals=("UDM",),
    ),
    Rule(
        "UDM2_LAYER",
        "Planet usable data mask 2, a band that is 1 where a pixel is not clear",
        ("UDM2_LAYER", "UDM2_CLOUD", "UDM2_SHADOW", *(f"UDM2_{n}" for n in ("HAZE_LIGHT", "HAZE_HEAVY", "LIGHT_HAZE"))),
        (_class(0, "without it"), _class(1, "cloud, shadow or haze", True)),
        "Planet, UDM 2.1 documentation",
    ),
    Rule(
        "UDM",
        "Planet unusable data mask, or band 8 of UDM2",
        ("UDM", "UDM1"),
        (
            _bit(0, "blackfill", True),
            _bit(1, "cloud", True),
            *(_bit(n, "missing or suspect", True) for n in range(2, 8)),
        ),
        "Planet, Imagery Product Specification, Unusable Data Mask",
        "bits",
        largest=255,
    ),
    Rule(
        "state_1km",
        "MODIS surface reflectance state",
        ("state_1km", "state_1km_1", "sur_refl_state_500m", "state_500m"),
        (
            Flag("fill", (65535,), None, True),
            _field(0, 1, (1, 2), "cloudy or mixed", True),
            _bit(2, "cloud shadow", True),
            _field(3, 5, range(1, 8), "land or water"),
            _field(6, 7, (1, 2, 3), "aerosol"),
            _field(8, 9, (1, 2, 3), "cirrus", True),
            _bit(10, "cloud, internal algorithm", True),
            _bit(11, "fire"),
            _bit(12, "snow or ice"),
            _bit(13, "adjacent to cloud"),
            _bit(15, "snow, internal algorithm"),
        ),
        "NASA, MODIS Surface Reflectance User's Guide, Collection 6.1 (MOD09), table on the state",
        "bits",
        largest=_ones(0, 15),
    ),
    Rule(
        "cloud_probability",
        "probability of cloud, as fractions or percent",
        ("cloud_probability", "MSK_CLDPRB", "CLDPRB", "CLD", "s2cloudless", "cloud_prob", "cloudprob", "probability"),
        (),
        "ESA, Sentinel-2 Products Specification Document, MSK_CLDPRB (0 to 100); s2cloudless (0 to 1)",
        "probability",
        largest=100,
    ),
    Rule(
        "CLP",
        "probability of cloud of Sentinel Hub, 0 to 255",
        ("CLP", "CLP_255"),
        (),
        "Sentinel Hub documentation, Sentinel-2 L1C and L2A, CLP (0 to 255)",
        "probability",
        largest=255,
        rivals=("cloud_probability",),
    ),
)
"""All that is known by name; what carries CF flags is known by `layout.cf_rule`."""
BY_CODES = ("BQA", "Fmask", "UDM2", "CLP")
"""Names that several rules go by: the codes choose. Any other name says one rule, which the codes must not contradict."""
UDM2_BANDS = ("clear", "snow", "shadow", "haze_light", "haze_heavy", "cloud", "confidence", "udm1")
SEARCHED = tuple(
    "SCL QA_PIXEL pixel_qa BQA Fmask state_1km state_1km_1 l2_flags OmniCloudMask UDM2 CLM "
    "cloud_mask clouds cloud MSK_CLDPRB CLP s2cloudless cloud_probability QA60".split()
)
"""Names under which a mask is looked for, whatever their case; the first that is there is taken."""
PLAIN = ("scl", "qa_pixel", "pixel_qa", "fmask", "cloud_mask", "clouds", "cloud", "mask", "filled")
"""Names that nobody takes for a band's: no warning says that these layers are left out."""
OWN_NAMES = ("cloud_mask", "clouds", "cloud", "mask", "filled")
_QUALITY = re.compile(r"(?<![a-z])([a-z]*masks?|qa|qc|quality|flags?|msk|probability|clouds?_prob\w*)(?![a-z])")


def rule(name: str) -> Rule:
    """Return the rule of that name."""
    return next(r for r in RULES if r.name.lower() == name.lower())


def named(name: object) -> tuple[Rule, ...]:
    """Return the rules that a mask's name stands for, the likeliest first: none where it says nothing.

    The name is a word, or a part of it between anything but letters: "scl_20m" is SCL, "SCLERA" is not.
    """
    text = str(name or "")
    if "confidence" in text.lower():
        return ()
    alias = known_name(text)
    found = next((r for r in RULES if alias in r.names), None)
    return () if found is None else (found, *map(rule, found.rivals))


def by_codes(name: object) -> bool:
    """Return True where several rules go by a mask's name, so that the codes choose."""
    return known_name(str(name or "")) in BY_CODES


def known_name(text: str) -> str | None:
    """Return the longest name of a product that a text holds as a word, or None."""
    names = [n for r in RULES for n in r.names if n != "HLS" or text.lower() == "hls"]
    return _longest(names, text)


def kind(text: str | None) -> str | None:
    """Return the name of a mask, of a product or such as "cloud", that the name of a file or band holds as a word, or None."""
    if not text:
        return None
    found = _longest([*SEARCHED, *(n for r in RULES for n in r.names if n != "HLS")], text)
    return f"HLS {found}" if found == "Fmask" and text.startswith("HLS.") else found


def _longest(names: Sequence[str], text: str) -> str | None:
    fitting = [n for n in names if re.search(rf"(?<![A-Za-z]){re.escape(n)}(?![A-Za-z])", text, flags=re.IGNORECASE)]
    return max(fitting, key=len, default=None)


def is_searched(name: object) -> bool:
    """Return True for a name under which a mask is looked for."""
    return str(name).lower() in {known.lower() for known in SEARCHED}


def is_quality(name: object, attrs: Mapping[Any, Any] | None = None) -> bool:
    """Return True for a layer of quality, which is no band: by its name, or because it has flags as the CF conventions put them."""
    text = str(name).lower()
    if attrs and any(key in attrs for key in ("flag_meanings", "flag_values", "flag_masks")):
        return True
    known = text in OWN_NAMES or is_searched(text) or known_name(text) is not None
    return known or _QUALITY.search(text) is not None
