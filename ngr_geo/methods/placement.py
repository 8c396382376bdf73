"""Where a window is computed: on its device, in smaller parts where that is out of memory, at last on the CPU.

Whatever computes takes the device of the tensors that it is given. So a window is uploaded once, as it is stored; what was learnt
is copied to the device once; and only what was filled comes back.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..tiling.lanes import lane
from ..tiling.precision import same_bits

Value = TypeVar("Value")
Answer = TypeVar("Answer")


def uploaded(array: NDArray[Any], device: str | torch.device) -> Tensor:
    """Return an array as a tensor on a device, through pinned memory where that is a GPU of CUDA."""
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    tensor = torch.from_numpy(native if native.flags.writeable else native.copy())
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def moved(value: Value, device: str | torch.device) -> Value:
    """Return a value with all tensors and networks in it on a device: copies of those that are not there."""
    found: Any = value
    if isinstance(value, Tensor):
        found = value.to(device)
    elif isinstance(value, nn.Module):
        there = torch.empty(0, device=device).device == next(value.parameters()).device
        found = value if there else deepcopy(value).to(device)
    elif isinstance(value, dict):
        found = {key: moved(part, device) for key, part in value.items()}
    elif isinstance(value, tuple):
        parts = [moved(part, device) for part in value]
        found = type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    elif is_dataclass(value) and not isinstance(value, type):
        found = replace(value, **{f.name: moved(getattr(value, f.name), device) for f in fields(value) if f.init})
    return found  # type: ignore[no-any-return]  # of the type of what was given


def here_or_on_cpu(device: str, work: Callable[[str], Answer]) -> tuple[Answer, str]:
    """Return what is worked out on a device, or on the CPU where that is out of memory, and where that was."""
    return first_that_fits(device, {"": work}, work)


def first_that_fits(
    device: str, attempts: Mapping[str, Callable[[str], Answer]], on_cpu: Callable[[str], Answer]
) -> tuple[Answer, str]:
    """Return the answer of the first attempt that the device has enough memory for, and where that was.

    Args:
        device: the one chosen; which GPU that is, where there are several, is found when one is free.
        attempts: on a device, by what their place is called beside the device.
        on_cpu: the last, which is not caught.
    """
    if torch.device(device).type != "cpu":
        with lane(device) as free, same_bits():
            for how, attempt in attempts.items():
                try:
                    return attempt(free), f"{device}, {how}" if how else device
                except RuntimeError as error:
                    if not out_of_memory(error):
                        raise
                if torch.cuda.is_available():  # beyond the handler, whose traceback keeps what filled the memory
                    torch.cuda.empty_cache()
        device = f"cpu, as {device} was out of memory"
    with lane("cpu"):
        return on_cpu("cpu"), device


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that a device is out of memory; MPS has no class of its own for it."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)
