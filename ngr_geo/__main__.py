"""`python -m ngr_geo` is the ngr-geo command."""

from .cli import main

main(prog_name="ngr-geo")
