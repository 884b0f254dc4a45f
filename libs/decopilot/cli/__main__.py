"""`python -m decopilot.cli`: the command line where no script is installed."""

from decopilot.cli import main

main()
