"""What decides the bits on CUDA is set inside a block, and is what it was afterwards; torch keeps it on any machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from ngr_geo.tiling import precision
from ngr_geo.tiling.precision import same_bits

cudnn: Any = torch.backends.cudnn
matmul: Any = torch.backends.cuda.matmul
NEW = hasattr(cudnn, "conv")
"""Whether torch has its newer interface, from 2.9 on."""


def state() -> list[Any]:
    """All that torch answers, by its newer interface, too."""
    return [setting.read() for setting in precision.settings()]


def low() -> None:
    torch.set_float32_matmul_precision("medium")
    cudnn.allow_tf32 = True


def off() -> None:
    matmul.allow_tf32 = False
    cudnn.allow_tf32 = False


def benchmark() -> None:
    cudnn.benchmark = True


def newer() -> None:
    matmul.fp32_precision = "tf32"
    cudnn.conv.fp32_precision = "tf32"


CHOICES: list[Callable[[], None]] = [lambda: None, low, off, benchmark, *([newer] if NEW else [])]


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Nothing of these tests stays."""
    before = cudnn.deterministic, cudnn.benchmark
    new: Any = (matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) if NEW else ()
    yield
    cudnn.deterministic, cudnn.benchmark = before
    if NEW:
        matmul.fp32_precision = "ieee"
    torch.set_float32_matmul_precision("highest")
    if NEW:
        matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = new
    cudnn.allow_tf32 = True


@pytest.mark.parametrize("choose", CHOICES)
def test_all_is_in_full_inside_and_what_the_user_chose_outside(choose: Callable[[], None]) -> None:
    choose()
    readable = [s for s in precision.settings() if _readable(s)]
    before = [s.read() for s in readable]
    with pytest.raises(ZeroDivisionError), same_bits():
        assert all(s.harmless(s.read()) for s in precision.settings() if _readable(s))
        assert cudnn.deterministic
        assert not cudnn.benchmark
        1 / 0  # noqa: B018
    assert [s.read() for s in readable] == before


def _readable(setting: precision.Setting) -> bool:
    """Whether torch answers: it refuses to by the older interface where the newer one was used."""
    try:
        setting.read()
    except RuntimeError:
        return False
    return True


def test_blocks_that_overlap_share_one_change() -> None:
    """The first to begin is not the last to end, and what it leaves is still set."""
    low()
    before = state()
    inside, leave = threading.Barrier(2), threading.Event()
    seen: dict[str, Any] = {}

    def first() -> None:
        with same_bits():
            inside.wait(10)
        seen["after the first"] = cudnn.deterministic, torch.get_float32_matmul_precision()
        leave.set()

    def second() -> None:
        with same_bits():
            inside.wait(10)
            leave.wait(10)

    pair = [threading.Thread(target=work) for work in (first, second)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    assert seen == {"after the first": (True, "highest")}
    assert state() == before


def test_what_the_user_changes_meanwhile_stays() -> None:
    with same_bits():
        cudnn.benchmark = True
        cudnn.deterministic = False
    assert cudnn.benchmark
    assert not cudnn.deterministic
