"""What is known of a scene as a whole, and the file that keeps it: weights as safetensors, the rest as JSON beside them.

Every tile is solved from its own pixels and the scene's `Prior`. Saved, it lets an interrupted job go on with the same bits; given
to another scene or date, its networks take the place of training. No pickle is written or read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import atomic
from ..errors import InputError
from ..tiling.store import digest as digest_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..solver import Small
    from .filling import Scene

FORMAT = "4"
_SPREAD = ("weights", "deviation", "rms", "bias", "limits", "doubt", "reach")


@dataclass(frozen=True)
class Prior:
    """What is known of a scene: its scaling, (time, band, 1, 1) in the raster's units, and what `filling.fit` learnt.

    `limits` are the least and greatest observed value, for the paper's own scaling to [0, 1]; `scene` is None for that method.
    """

    center: NDArray[np.float32]
    spread: NDArray[np.float32]
    limits: tuple[float, float]
    scene: Scene | None
    bands: NDArray[np.bool_] | None = None
    """(band,) Which bands take part, None for all: what was learnt is of these alone."""

    @property
    def networks(self) -> tuple[Small, ...]:
        """What refines the guide, to be used on other scenes and dates; none where nothing was trained."""
        return () if self.scene is None else self.scene.networks

    def save(self, path: str | os.PathLike[str]) -> str:
        """Return the digest of the prior, after writing it to a .safetensors file, whole or not at all.

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


def load(path: str | os.PathLike[str], digest: str | None = None) -> Prior:
    """Return the prior that `Prior.save` wrote; `digest`: what it returned, where only that prior will do.

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


def _packed(prior: Prior) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return a prior as named arrays and what JSON can hold."""
    tensors: dict[str, Any] = {"center": prior.center, "spread": prior.spread}
    notes: dict[str, Any] = {"limits": list(prior.limits), "scene": None}
    if prior.bands is not None:
        notes["bands"] = prior.bands.tolist()
    if prior.scene is None:
        return tensors, notes
    scene, guide = prior.scene, prior.scene.guide
    notes["scene"] = {
        "steps": scene.steps,
        "networks": len(scene.networks),
        "power": guide.power,
        "width": guide.width,
        "factors": guide.factors is not None,
        "references": {date: list(r.references) for date, r in guide.regressions.items()},
        "nearest": {date: [list(part) for part in pair] for date, pair in guide.nearest.items()},
        "judgement": {date: list(verdict) for date, verdict in scene.judgement.items()},
    }
    if guide.factors is not None:
        tensors |= {f"factors.{k}": getattr(guide.factors, k) for k in ("loading", "mean", "noise", "known")}
    tensors |= {f"regression.{date}": r.coefficients for date, r in guide.regressions.items()}
    tensors |= {f"scale.{date}": scale for date, scale in scene.scale.items()}
    for name, spreads in (("spread", scene.spread), ("unseen_spread", scene.unseen_spread)):
        for date, spread in spreads.items():
            tensors |= {f"{name}.{date}.{k}": np.asarray(getattr(spread, k)) for k in _SPREAD}
    for number, network in enumerate(scene.networks):
        tensors |= {f"network.{number}.{name}": value.cpu() for name, value in network.state_dict().items()}
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}, notes


def _unpacked(tensors: dict[str, NDArray[Any]], notes: dict[str, Any]) -> Prior:
    """Return the prior from what `_packed` made of it."""
    import torch

    from ..guides.dates import Guide
    from ..guides.lowrank import Factors
    from ..guides.regression import Regression
    from .filling import Scene
    from .problem import Judgement
    from .uncertainty import Spread

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(tensors[name].copy())

    kept = notes["scene"]
    low, high = notes["limits"]
    scene = None
    if kept is not None:
        factors = None
        if kept["factors"]:
            factors = Factors(*(tensor(f"factors.{k}") for k in ("loading", "mean", "noise", "known")))
        guide = Guide(
            factors,
            {int(d): Regression(tuple(r), tensor(f"regression.{d}")) for d, r in kept["references"].items()},
            {int(d): (tuple(pair[0]), tuple(pair[1])) for d, pair in kept["nearest"].items()},
            kept["power"],
            kept["width"],
        )
        networks = tuple(_network(tensors, f"network.{number}.") for number in range(kept["networks"]))
        scale = {int(n.removeprefix("scale.")): tensor(n) for n in tensors if n.startswith("scale.")}
        judgement = {int(d): Judgement(v[0], *map(tuple, v[1:])) for d, v in kept["judgement"].items()}

        def spreads(name: str) -> dict[int, Spread]:
            dates = {int(n.split(".")[1]) for n in tensors if n.startswith(f"{name}.")}
            return {d: Spread(**{k: tensors[f"{name}.{d}.{k}"] for k in _SPREAD}) for d in sorted(dates)}

        scene = Scene(guide, networks, scale, judgement, kept["steps"], spreads("spread"), spreads("unseen_spread"))
    bands = None if notes.get("bands") is None else np.array(notes["bands"], bool)
    return Prior(tensors["center"], tensors["spread"], (low, high), scene, bands)


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
