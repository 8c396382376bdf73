"""How CUDA computes float32: in full, by kernels that give the same bits each time, whatever the user has set.

torch keeps these settings once for the process. Tiles and fits that overlap in time share one change of them: the first to begin
makes it, the last to end takes it back. The module's state is what the process's settings were before, for the same reason as in
`threads`. A setting that somebody else changed in the meantime is left as it is.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch


class Setting(NamedTuple):
    """One of torch's settings: how it is read and written, whether a value is harmless, and the value that replaces others."""

    read: Callable[[], Any]
    write: Callable[[Any], None]
    harmless: Callable[[Any], bool]
    value: Any


def _attribute(owner: Any, name: str, value: Any) -> Setting:
    return Setting(partial(getattr, owner, name), partial(setattr, owner, name), value.__eq__, value)


def settings() -> tuple[Setting, ...]:
    """Return the settings that decide the bits, those of torch's older interface first: the newer one sees what they change."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    found = [
        _attribute(cudnn, "deterministic", True),
        _attribute(cudnn, "benchmark", False),
        _attribute(cudnn, "allow_tf32", False),
        Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest".__eq__, "highest"),
    ]
    if hasattr(cudnn, "conv"):  # torch from 2.9 on
        owners = (cudnn.conv, cudnn.rnn, matmul)
        found += [_attribute(owner, "fp32_precision", "ieee")._replace(harmless=_in_full) for owner in owners]
    return tuple(found)


def _in_full(precision: str) -> bool:
    """Return whether a precision is float32 in full; "none" is where nothing is set, here or above."""
    return precision in ("ieee", "none")


_CHANGING = threading.Lock()
_inside = 0
_changed: list[tuple[Setting, Any]] = []
"""What was changed, with the value before."""


@contextmanager
def same_bits() -> Iterator[None]:
    """Let CUDA compute float32 in full and with deterministic kernels inside the block, in all threads."""
    global _inside
    with _CHANGING:
        _inside += 1
        if _inside == 1:
            _change()
    try:
        yield
    finally:
        with _CHANGING:
            _inside -= 1
            if not _inside:
                _restore()


def _change() -> None:
    for setting in settings():
        try:
            before = setting.read()
        except RuntimeError:  # a mix of both interfaces: the newer one answers below
            continue
        if not setting.harmless(before):
            setting.write(setting.value)
            _changed.append((setting, before))


def _restore() -> None:
    while _changed:
        setting, before = _changed.pop()
        if setting.harmless(setting.read()):
            setting.write(before)
