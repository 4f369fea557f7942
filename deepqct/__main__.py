"""`python -m deepqct` is the command line."""

from deepqct.cli import main

main()
