"""Settings of the documentation's site: `make docs` builds it."""

import sys
from importlib import metadata

import sphinx_autosummary_accessors

import ngr_geo

# These two are modules elsewhere in the package, and public under these names only.
sys.modules["ngr_geo.masks"] = ngr_geo.masks
sys.modules["ngr_geo.stac"] = ngr_geo.stac

project = "ngr_geo"
author = "The ngr_geo developers"
copyright = author
release = metadata.version("ngr_geo")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_autosummary_accessors",
    "sphinx_design",
]
exclude_patterns = ["_build"]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
default_role = "code"
smartquotes_action = "D"  # dashes; quotes belong to code

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "signature"
maximum_signature_line_length = 80
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"ngr_geo {release}"
