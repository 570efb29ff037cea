"""``python -m arseg_edge``: the command line."""

from arseg_edge.cli import main

main()
