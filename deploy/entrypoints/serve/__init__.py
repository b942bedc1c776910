"""The long-running processes: `fastdeploy serve` and `fastdeploy worker`, from the first user to shutdown."""
