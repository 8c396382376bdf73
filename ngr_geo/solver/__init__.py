"""The solver: tensors in, tensors out. It knows nothing of rasters, files or tasks. Start reading in `admm.py`."""

from .admm import LoopSettings, State, advance, begin, iterate, misfit
from .fidelity import Exact, Fidelity, Gaussian, Masked, Sparse, Stripes
from .gradient import Boundary, Neumann, Periodic, Weights, column
from .network import HourGlass, Small, ThreeNetworks, paper_network, seeded
from .paper import Published, published, spectral_norm, uniform
from .poisson import conjugate_gradients, hold

__all__ = [
    "Boundary",
    "Exact",
    "Fidelity",
    "Gaussian",
    "HourGlass",
    "LoopSettings",
    "Masked",
    "Neumann",
    "Periodic",
    "Published",
    "Small",
    "Sparse",
    "State",
    "Stripes",
    "ThreeNetworks",
    "Weights",
    "advance",
    "begin",
    "column",
    "conjugate_gradients",
    "hold",
    "iterate",
    "misfit",
    "paper_network",
    "published",
    "seeded",
    "spectral_norm",
    "uniform",
]
