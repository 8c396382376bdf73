"""What a result's `ngr_mask` says, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wording import counted


def lines(record: Mapping[str, Any]) -> list[str]:
    """Return for each date how much of it the mask marks, by which rule, and after it was grown; none without a rule."""
    if "rule" not in record:
        return []
    found = [f"Mask {record['source']}, read by the rule {how(record)}:"]
    for row in record.get("dates", ()):
        if row["masked"] is None:
            found.append(f"{row['date']}: not counted")
            continue
        grown = (
            f", grown by {counted(record['dilate'], 'pixel')} to {row['grown']:.1%}"
            if record["dilate"]
            else ", not grown"
        )
        found.append(f"{row['date']}: {row['masked']:.1%} masked by the rule {record['rule']}{grown}")
    return found


def how(record: Mapping[str, Any]) -> str:
    """Return the rule, and which classes, bits or probability count."""
    parts = [f"{kind} {', '.join(map(str, record[kind]))}" for kind in ("classes", "bits") if record.get(kind)]
    parts += [f"bits {place} = {' or '.join(map(str, values))}" for place, values in record.get("fields", {}).items()]
    if "probability" in record:
        parts.append(f"probability from {record['probability']:g} of {record['scale']:g}")
    return str(record["rule"]) + (f" ({'; '.join(parts)})" if parts else "")
