"""The record of a cloud mask in words. The command line shows it, so nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wording import counted


def lines(record: Mapping[str, Any]) -> list[str]:
    """Return for each date how much of it the mask marks, by which rule, and after it was grown; none without a rule.

    Args:
        record: see `masks.with_record`; a result has it as `ngr_mask`.
    """
    if "rule" not in record:
        return []
    parts = [f"{kind} {', '.join(map(str, record[kind]))}" for kind in ("classes", "bits") if record.get(kind)]
    parts += [f"bits {place} = {' or '.join(map(str, values))}" for place, values in record.get("fields", {}).items()]
    if "probability" in record:
        parts.append(f"probability from {record['probability']:g} of {record['scale']:g}")
    how = f" ({'; '.join(parts)})" if parts else ""
    found = [f"Mask {record['source']}, read by the rule {record['rule']}{how}:"]
    for row in record.get("dates", ()):
        grown = ", not grown"
        if row["masked"] is None:
            found.append(f"{row['date']}: not counted")
            continue
        if record["dilate"]:
            grown = f", grown by {counted(record['dilate'], 'pixel')} to {row['grown']:.1%}"
        found.append(f"{row['date']}: {row['masked']:.1%} masked by the rule {record['rule']}{grown}")
    return found
