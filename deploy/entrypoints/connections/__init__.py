"""The connections of `fastdeploy serve`: uvicorn's protocols, with limits on what one client may cost."""
