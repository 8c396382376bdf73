"""The model of a stack of dates, and its checkpoint: a file of safetensors, with the rest as JSON in its header.

Every tile is solved from its own pixels and the model. Saved, the model lets an interrupted job go on with the same bits; given
to another scene or date (`prior=`), its networks take the place of training. No pickle is written or read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import atomic
from ..errors import InputError
from ..tiling.store import digest as digest_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..solver import Small
    from .calibration import Calibration
    from .problem import Judgement

FORMAT = "6"
_CALIBRATION = ("weights", "deviation", "rms", "bias", "limits", "log_sd", "reach")


@dataclass(frozen=True)
class StackModel:
    """What is known of a scene before any tile of it is solved: its scaling, and what `filling.fit` learnt.

    `center` and `deviation` (time, band, 1, 1) are the mean and standard deviation of each date and band, in the raster's units;
    `limits` the least and greatest observed value, for the paper's own scaling to [0, 1]. The rest is empty for that method.
    """

    center: NDArray[np.float32]
    deviation: NDArray[np.float32]
    limits: tuple[float, float]
    bands: NDArray[np.bool_] | None = None
    """(band,) Which bands take part, None for all: what was learnt is of these alone."""
    guide: Any = None
    """What the member `members.GUIDE` fitted; None where nothing was learnt."""
    networks: tuple[Small, ...] = ()
    """Their answers, which refine the guide, are averaged; they can be used on other scenes and dates."""
    scale: dict[int, Tensor] = field(default_factory=dict)
    """The networks' unit for each date, (B, 1, 1)."""
    judgement: dict[int, Judgement] = field(default_factory=dict)
    """What was kept for each date, and the errors expected."""
    steps: int = 0
    """How long the networks were trained."""
    calibration: dict[int, Calibration] = field(default_factory=dict)
    """How the standard deviation of a filled pixel follows, for each date, where another date saw the ground."""
    unseen_calibration: dict[int, Calibration] = field(default_factory=dict)
    """The same where no date saw the ground."""
    place: str = ""
    """Where it was learnt, if the device was out of memory."""

    elsewhere: dict[str, StackModel] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Copies on other devices, one each: see `on`."""

    def on(self, device: str) -> StackModel:
        """Return the model with its tensors on a device, to which they are copied once."""
        if device == "cpu":
            return self
        from .placement import moved

        if device not in self.elsewhere:
            self.elsewhere[device] = moved(self, device)
        return self.elsewhere[device]

    def __getstate__(self) -> dict[str, Any]:
        """Return what goes to another process: not the copies."""
        return {**self.__dict__, "elsewhere": {}}

    def save(self, path: str | os.PathLike[str]) -> str:
        """Return the digest of the model, after writing it to a .safetensors file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        from safetensors.numpy import save

        tensors, notes = _packed(self)
        text = json.dumps(notes)
        found = _digest(tensors, text)
        content = save(tensors, metadata={"ngr_geo_prior": FORMAT, "notes": text, "digest": found})
        atomic.write(path, content, "Choose another place for the prior.")
        return found


def load(path: str | os.PathLike[str], digest: str | None = None) -> StackModel:
    """Return the model that `StackModel.save` wrote; `digest`: what it returned, where only that model will do.

    Raises:
        InputError: no such file, not one of ours, damaged, or not the one that is meant.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            notes = file.metadata() or {}
            if notes.get("ngr_geo_prior") != FORMAT:
                found = notes.get("ngr_geo_prior", "none")
                msg = (
                    f"{path} holds no prior of this version (found format {found}, expected {FORMAT}): train one anew."
                )
                raise InputError(msg)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # not a dict
        if _digest(tensors, notes["notes"]) != notes["digest"]:
            msg = "its content is not what was written"
            raise ValueError(msg)
        if digest is not None and digest != notes["digest"]:
            msg = f"{path} holds another prior than the one that was kept there: something replaced the file. Run the same again."
            raise InputError(msg)
        return _unpacked(tensors, json.loads(notes["notes"]))
    except FileNotFoundError as error:
        msg = f"{path}: no such file. Expected a prior,"
        raise InputError(
            msg,
            call="as ds.ngr.prior(...).save('prior.safetensors') writes it.",
            option="as --save-prior writes it.",
        ) from error
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
        msg = (
            f"{path} is no prior that can be read ({str(error)[:120]}). Expected a .safetensors file, as a prior is saved to; "
            "pickles (.pt, .pkl) are never loaded."
        )
        raise InputError(msg) from error


def _digest(tensors: Mapping[str, Any], notes: str) -> str:
    """Return the digest of what a file holds."""
    return digest_of(notes, *(part for name in sorted(tensors) for part in (name, np.asarray(tensors[name]))))


def _packed(model: StackModel) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return a model as named arrays and what JSON can hold."""
    tensors: dict[str, Any] = {"center": model.center, "deviation": model.deviation}
    bands = None if model.bands is None else model.bands.tolist()
    notes: dict[str, Any] = {"limits": list(model.limits), "bands": bands, "scene": None}
    if model.guide is None:
        return tensors, notes
    from ..guides.members import GUIDE

    fitted, about = GUIDE.packed(model.guide)
    tensors |= fitted
    notes["scene"] = {
        "steps": model.steps,
        "networks": len(model.networks),
        **about,
        "judgement": {date: verdict._asdict() for date, verdict in model.judgement.items()},
        "place": model.place,
    }
    tensors |= {f"scale.{date}": scale for date, scale in model.scale.items()}
    for name, calibrations in (("calibration", model.calibration), ("unseen", model.unseen_calibration)):
        for date, found in calibrations.items():
            tensors |= {f"{name}.{date}.{k}": np.asarray(getattr(found, k)) for k in _CALIBRATION}
    for number, network in enumerate(model.networks):
        tensors |= {f"network.{number}.{name}": value.cpu() for name, value in network.state_dict().items()}
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}, notes


def _unpacked(tensors: dict[str, NDArray[Any]], notes: dict[str, Any]) -> StackModel:
    """Return the model from what `_packed` made of it."""
    import torch

    from ..guides.members import GUIDE
    from .calibration import Calibration

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(tensors[name].copy())

    def calibrations(name: str) -> dict[int, Calibration]:
        dates = {int(n.split(".")[1]) for n in tensors if n.startswith(f"{name}.")}
        return {d: Calibration(**{k: tensors[f"{name}.{d}.{k}"] for k in _CALIBRATION}) for d in sorted(dates)}

    low, high = notes["limits"]
    bands = None if notes["bands"] is None else np.array(notes["bands"], bool)
    scaled = StackModel(tensors["center"], tensors["deviation"], (low, high), bands)
    kept = notes["scene"]
    if kept is None:
        return scaled
    return replace(
        scaled,
        guide=GUIDE.unpacked({name: tensor(name) for name in tensors}, kept),
        networks=tuple(_network(tensors, f"network.{number}.") for number in range(kept["networks"])),
        scale={int(n.removeprefix("scale.")): tensor(n) for n in tensors if n.startswith("scale.")},
        judgement={int(d): _judgement(found) for d, found in kept["judgement"].items()},
        steps=kept["steps"],
        calibration=calibrations("calibration"),
        unseen_calibration=calibrations("unseen"),
        place=kept["place"],
    )


def _judgement(found: Mapping[str, Any]) -> Judgement:
    """Return a judgement from its fields, of which JSON has made lists."""
    from .problem import PER_BAND, Judgement

    errors = {name: tuple(found[name]) for name in PER_BAND}
    hidden = {name: tuple(values) for name, values in found["hidden"].items()}
    return Judgement(**{**found, **errors, "hidden": hidden})


def _network(tensors: dict[str, NDArray[Any]], prefix: str) -> Small:
    """Return the network whose weights have names with this prefix."""
    import torch

    from ..solver import Small

    weights = {n.removeprefix(prefix): torch.from_numpy(v.copy()) for n, v in tensors.items() if n.startswith(prefix)}
    width, inputs = weights["stem.convolution.weight"].shape[:2]
    scales = len({n.split(".")[1] for n in weights if n.startswith("downs.")})
    network = Small(inputs, len(weights["head.weight"]), width, scales)
    network.load_state_dict(weights)
    return network
