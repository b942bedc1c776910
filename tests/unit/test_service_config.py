"""Parse the config of a service once, with the same rules that a sync checks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.adapters.service_folders.config import FolderError, parse_config
from deploy.domain.model import Service
from deploy.domain.service_config import MAX_TIMEOUT, OPTIONS, ServiceConfig, StepOption

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-2, 200),
    st.sampled_from([10**400, MAX_TIMEOUT, MAX_TIMEOUT + 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.sampled_from(["x" * 10_000, "x" * 10_001]),
)
STEP = st.dictionaries(st.sampled_from(["name", "description", "more"]), SCALARS, max_size=3)
VALUES = SCALARS | st.lists(STEP | SCALARS, max_size=2) | st.dictionaries(st.text(max_size=2), SCALARS, max_size=2)
CONFIGS = st.dictionaries(st.sampled_from(sorted(OPTIONS)) | st.text(max_size=3), VALUES, max_size=4)


def accepts(data: dict[str, Any]) -> bool:
    """Return True if a sync accepts this config."""
    try:
        parse_config(json.dumps(data).encode())
    except FolderError:
        return False
    return True


def test_options_are_parsed() -> None:
    data = {
        "description": "A shop",
        "steps": [{"name": "Build"}, {"name": "Test", "description": "All of them", "more": 1}],
        "concurrency": 3,
        "retention_days": 7,
        "timeout": 60,
        "inputs": {"type": "object"},
        "confirm": True,
        "team": "web",
    }
    assert ServiceConfig.from_json(data) == ServiceConfig(
        description="A shop",
        steps=(StepOption(name="Build"), StepOption(name="Test", description="All of them")),
        concurrency=3,
        retention_days=7.0,
        timeout=60.0,
        inputs={"type": "object"},
        confirm=True,
    )


@given(data=CONFIGS)
@example(data={"steps": [{"name": "A", "description": True}]})
@example(data={"steps": [{"name": "x" * 501}]})
@example(data={"timeout": 10**400})
def test_a_stored_config_is_valid_exactly_if_a_sync_accepts_it(data: dict[str, Any]) -> None:
    config = ServiceConfig.from_json(data)
    assert (not config.invalid) == accepts(data)
    for name, option in OPTIONS.items():
        if name in data and name not in config.invalid:
            assert getattr(config, name) == option.kind.convert(data[name])


@given(data=CONFIGS | VALUES)
def test_parsing_never_fails_and_can_be_repeated(data: Any) -> None:
    config = ServiceConfig.from_json(data)
    assert ServiceConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_an_invalid_option_has_its_default(name: str) -> None:
    # No option accepts a list that contains a number.
    config = ServiceConfig.from_json({name: [5], "unknown": 1})
    assert getattr(config, name) == getattr(ServiceConfig(), name)
    assert config.invalid == {name: [5]}
    assert config.faults(name).startswith(f"{name} must be ")


def test_errors_describe_the_limits() -> None:
    config = ServiceConfig.from_json({"concurrency": 0, "deploy_script": "", "confirm": 1})
    assert config.faults("concurrency") == "concurrency must be an integer, at least 1 and at most 100"
    assert (
        config.faults() == "deploy_script must be a path, with a length of at least 1; confirm must be true or false"
    )


def test_the_page_only_reads_existing_options() -> None:
    types = (Path(__file__).parents[2] / "frontend" / "src" / "api" / "types.ts").read_text(encoding="utf-8")
    declared = re.search(r"interface ServiceData \{\n(.*?)^\}", types, re.MULTILINE | re.DOTALL)
    assert declared is not None
    assert set(re.findall(r"^  (\w+)\?:", declared[1], re.MULTILINE)) <= OPTIONS.keys()


def test_null_is_the_default() -> None:
    assert ServiceConfig.from_json(dict.fromkeys(OPTIONS)) == ServiceConfig()


def test_a_service_parses_its_config_once_until_it_changes() -> None:
    service = Service(name="shop", data={"concurrency": 2})
    assert service.config is service.config
    service.data = {"concurrency": 5}
    assert service.concurrency == 5
