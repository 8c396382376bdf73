"""The solver: tensors in, tensors out. It knows nothing of rasters, files or tasks. Start reading in `admm.py`."""

from .admm import LoopSettings, State, advance, begin, iterate, misfit
from .fidelity import Exact, Fidelity, Gaussian, Masked, Sparse, Stripes
from .gradient import Boundary, Neumann, Periodic, Weights, column
from .network import Backbone, HourGlass, Small, ThreeNetworks, UNet, paper_network, seeded
from .paper import Published, images_as_published, published, spectral_norm, uniform
from .poisson import TETHER, Gaps, conjugate_gradients, gaps_of, hold

__all__ = [
    "TETHER",
    "Backbone",
    "Boundary",
    "Exact",
    "Fidelity",
    "Gaps",
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
    "UNet",
    "Weights",
    "advance",
    "begin",
    "column",
    "conjugate_gradients",
    "gaps_of",
    "hold",
    "images_as_published",
    "iterate",
    "misfit",
    "paper_network",
    "published",
    "seeded",
    "spectral_norm",
    "uniform",
]
