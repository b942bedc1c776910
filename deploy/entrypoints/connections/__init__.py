"""The connections of `fastdeploy serve`: uvicorn's protocols, with limits for each client."""
