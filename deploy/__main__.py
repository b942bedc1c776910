"""`python -m deploy` is `fastdeploy`."""

from deploy.entrypoints.cli import main

main()
