"""A device that computes on the CPU but behaves as a GPU does: whatever meets a tensor of another device is an error.

Tensors are marked, not copied. The mode sees each call of torch in the threads that run while it is active: it answers for
`device`, refuses NumPy, counts what is moved, and can be out of memory, at one line of the package or beyond a number of values.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import dask.threaded
import torch
from torch.overrides import TorchFunctionMode

import ngr_geo

DEVICE = torch.device("cuda", 0)
PACKAGE = str(Path(ngr_geo.__file__).parent)
MOVES: set[Any] = {torch.Tensor.copy_, torch.Tensor.data.__set__, torch._has_compatible_shallow_copy_type}  # type: ignore[attr-defined]
SENDS: set[Any] = {torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu}
ASKS_DEVICE: Any = torch.Tensor.device.__get__  # type: ignore[attr-defined]
ASKS_KIND: dict[Any, bool] = {torch.Tensor.is_cuda.__get__: True, torch.Tensor.is_cpu.__get__: False}  # type: ignore[attr-defined]
SETS_DATA: Any = torch.Tensor.data.__set__  # type: ignore[attr-defined]
CPU = torch.device("cpu")
HOST_ONLY: set[Any] = {torch.Tensor.numpy, torch.Tensor.__array__}
Site = tuple[str, int]


def device_of(tensor: Any) -> torch.device:
    """Return where a tensor lies: on a fake device, or on the CPU."""
    return getattr(tensor, "_fake", None) or CPU


def on_device(tensor: Any) -> bool:
    """Return whether a tensor lies on a fake device."""
    return device_of(tensor).type == DEVICE.type


def named(device: Any) -> torch.device:
    """Return a device as tensors have it: the fake ones by their number."""
    found = torch.device(device)
    return DEVICE if found.type == DEVICE.type and found.index is None else found


def tensors_in(values: Iterable[Any]) -> list[torch.Tensor]:
    """Return the tensors among some values, and in the lists, tuples and dictionaries among them."""
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):  # a union is built anew at each of millions of calls
            found += tensors_in(value)
        elif isinstance(value, dict):
            found += tensors_in(value.values())
    return found


class FakeDevice(TorchFunctionMode):
    """The mode that stands for the device.

    Args:
        failing: the line (file, number) at which it is out of memory, `times` times.
        times: see `failing`.
        capacity: it is out of memory where one tensor has more values than this.
    """

    def __init__(self, failing: Site | None = None, times: int = 1, capacity: int | None = None) -> None:
        """Start with nothing on the device."""
        super().__init__()
        self.failing, self.times, self.capacity = failing, times, capacity
        self.sites: Counter[Site] = Counter()
        self.uploaded: Counter[Site] = Counter()
        self.downloaded: Counter[Site] = Counter()
        self.used: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch as the device would."""
        kwargs = dict(kwargs) if kwargs else {}
        if func == ASKS_DEVICE:
            return device_of(args[0])
        tensors = tensors_in(args) + tensors_in(kwargs.values()) if kwargs else tensors_in(args)
        marked = [t for t in tensors if "_fake" in t.__dict__ and on_device(t)]
        if func in ASKS_KIND:
            return bool(marked) == ASKS_KIND[func]
        if func in HOST_ONLY and marked:
            msg = f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first."
            raise TypeError(msg)
        if func is torch.Tensor.pin_memory:
            return args[0]
        if func in SENDS:
            return self._moved(func, args, kwargs)
        place = device_of(marked[0]) if marked else CPU
        there = bool(marked)
        if (wanted := kwargs.get("device")) is not None:
            place = named(wanted)
            there = place.type == DEVICE.type
            kwargs["device"] = "cpu"
            generator = kwargs.get("generator")
            if there and generator is not None and not isinstance(generator, _Generator):
                msg = f"Expected a {DEVICE} device type for generator but found {generator.device}"
                raise RuntimeError(msg)
        elif (
            marked
            and (len(marked) < len(tensors) or len(marked) > 1)
            and func not in MOVES
            and len(met := {device_of(t) for t in tensors if t.dim() or on_device(t)}) > 1
        ):
            both = " and ".join(sorted(map(str, met)))
            msg = f"Expected all tensors to be on the same device, but found at least two devices, {both}! ({func})"
            raise RuntimeError(msg)
        if there:
            self._allocate(tensors)
        result = func(*args, **kwargs)
        if func == SETS_DATA:
            args[0]._fake = device_of(args[1])
        elif func is not torch.Tensor.copy_:
            for out in tensors_in([result]) if there else ():
                out._fake = place  # type: ignore[attr-defined]
        if there and self.capacity is not None:
            for out in tensors_in([result]):
                if out.numel() > self.capacity:
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")
        return result

    def _moved(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> torch.Tensor:
        """Return a tensor moved, counted where it changes its device."""
        tensor, rest = args[0], list(args[1:])
        there = device_of(tensor)
        goal = there
        if func is not torch.Tensor.to:
            goal, rest = DEVICE if func is torch.Tensor.cuda else torch.device("cpu"), []
            kwargs.pop("device", None)
        elif "device" in kwargs:
            wanted = kwargs.pop("device")
            goal = there if wanted is None else named(wanted)
        elif rest and isinstance(rest[0], str | torch.device):
            goal = named(rest.pop(0))
        elif rest and isinstance(rest[0], torch.Tensor):
            goal, rest[0] = device_of(rest[0]), rest[0].dtype
        kwargs.pop("non_blocking", None)
        rest = [r for r in rest if isinstance(r, torch.dtype)]
        moved = tensor.to(*rest, **kwargs) if rest or kwargs else tensor
        if goal != there:
            up = goal.type == DEVICE.type
            if up:
                self._allocate([tensor])
                self.used.add(str(goal))
            (self.uploaded if up else self.downloaded)[_site()] += tensor.numel() * tensor.element_size()
            moved = moved.clone() if moved is tensor else moved
        if DEVICE.type in (goal.type, there.type):
            moved._fake = goal
        return moved

    def _allocate(self, tensors: Sequence[torch.Tensor]) -> None:
        """Raise where the device is to be out of memory; remember which line of the package wanted some."""
        site = _site()
        self.sites[site] += 1
        if site == self.failing and self.times > 0:
            self.times -= 1
            msg = "CUDA out of memory. Tried to allocate some."
            raise torch.cuda.OutOfMemoryError(msg)


class _Generator(torch.Generator):
    """A generator of the fake device."""

    def __new__(cls, device: Any = "cpu") -> Any:
        """Return one, or an ordinary one for the CPU."""
        there = torch.device(device).type == DEVICE.type
        return _PLAIN.__new__(cls if there else _PLAIN)

    def __init__(self, device: Any = "cpu") -> None:
        """Start; a generator of C++ must not see a device that it has not."""


_PLAIN = torch.Generator


def _site() -> Site:
    """Return the innermost line of the package that is being run."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in _FILES:
            _FILES[file] = file[len(PACKAGE) + 1 :] if file.startswith(PACKAGE) else None
        if (found := _FILES[file]) is not None:
            return found, frame.f_lineno
        frame = frame.f_back
    return "", 0


_FILES: dict[str, str | None] = {}


@contextmanager
def fake_device(count: int = 1, free: int = 8 * 2**30, **how: Any) -> Iterator[FakeDevice]:
    """Let torch find fake CUDA devices in this thread and in those that start while the block runs.

    Args:
        count: how many there are, all of one model.
        free: bytes of memory that each has left.
        how: see `FakeDevice`.
    """
    device = FakeDevice(**how)
    run, make = threading.Thread.run, torch.nn.Parameter.__new__

    def started(self: threading.Thread) -> None:
        with device:
            run(self)

    def parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        made = make(cls, data, requires_grad)
        if on_device(data):
            made._fake = device_of(data)
        return made

    memory: Callable[..., Any] = lambda *_: (free, 2 * free)  # noqa: E731  # as mem_get_info answers
    with (
        mock.patch.object(threading.Thread, "run", started),
        mock.patch.object(torch.nn.Parameter, "__new__", parameter),
        mock.patch.object(
            dask.threaded, "pools", defaultdict(dict)
        ),  # Dask keeps its threads: those from before are no use
        mock.patch.object(dask.threaded, "default_pool", None),
        mock.patch.object(torch, "Generator", _Generator),
        mock.patch.object(torch.cuda, "is_available", lambda: True),
        mock.patch.object(torch.cuda, "device_count", lambda: count),
        mock.patch.object(torch.cuda, "mem_get_info", memory),
        mock.patch.object(torch.cuda, "empty_cache", lambda: None),
        mock.patch.object(torch.cuda, "current_device", lambda: 0),
        mock.patch.object(torch.cuda, "get_device_name", lambda *_: "fake"),
        device,
    ):
        yield device
