"""Numbers in sentences: counts with their noun, shares that are never rounded to nothing or to all. No other module is needed."""

from collections.abc import Iterable


def counted(many: int, what: str, several: str | None = None) -> str:
    """Return a count with its noun: "1 date", "3 dates"; `several` is the plural where it is not formed with an s."""
    return f"{many} {what if many == 1 else several or f'{what}s'}"


def percent(share: float) -> str:
    """Return a share as a percentage in words: exact at 0 and 1, and neither of them where it is not."""
    if share in (0, 1) or not 0 < share < 1:
        return f"{share:.0%}"
    if share < 0.0005:
        return "less than 0.1%"
    if share > 0.9995:
        return "more than 99.9%"
    return f"{share:.1%}" if share < 0.1 or share > 0.99 else f"{share:.0%}"


def listed(names: Iterable[object], most: int = 12) -> str:
    """Return names with commas; of more than `most` the first ones, the last one, and how many there are."""
    texts = [str(name) for name in names]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[: most - 1])}, ..., {texts[-1]} ({len(texts)} in all)"
