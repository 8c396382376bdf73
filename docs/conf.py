"""Settings of the documentation's site: `make docs` builds it."""

import shutil
import sys
from importlib import metadata
from pathlib import Path

import sphinx_autosummary_accessors
from sphinx.application import Sphinx

import ngr_geo

# These two are modules elsewhere in the package, and public under these names only.
sys.modules["ngr_geo.masks"] = ngr_geo.masks
sys.modules["ngr_geo.stac"] = ngr_geo.stac

# The notebooks lie beside the package, and Sphinx wants them below this folder.
HOME = Path(__file__).parent
shutil.copytree(
    HOME.parent / "examples", HOME / "notebooks", ignore=shutil.ignore_patterns("*.py", "pictures"), dirs_exist_ok=True
)


def setup(app: Sphinx) -> None:
    """Let links to notebooks lead to their pages."""

    def lead(app: Sphinx, page: str, source: list[str]) -> None:
        source[0] = (
            source[0].replace("](../examples/0", "](notebooks/0").replace("](../../examples/0", "](../notebooks/0")
        )

    app.connect("source-read", lead)


project = "ngr_geo"
author = "The ngr_geo developers"
copyright = author
release = metadata.version("ngr_geo")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_autosummary_accessors",
    "sphinx_design",
]
exclude_patterns = ["_build"]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
# The gallery's pages are run, and an error in one is an error of the build. The notebooks are stored with their outputs:
# `make examples` runs them.
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_output_stderr = "remove"  # warnings of a verb are in its record, too
nb_merge_streams = True

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
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"ngr_geo {release}"
