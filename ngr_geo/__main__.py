"""`python -m ngr_geo` is the ngr-geo command."""

from .cli.commands import main

main(prog_name="ngr-geo")
