"""The file with logins is private, is written atomically, and is replaced if it is invalid."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.entrypoints.cli.client.api import open_api
from deploy.entrypoints.cli.client.errors import ClientError, NotSignedIn, UsageError
from deploy.entrypoints.cli.client.logins import Login, Logins

STAGING = Login("https://staging.example.com", "admin", "secret-1")
PRODUCTION = Login("https://deploy.example.com", "admin", "secret-2")


@pytest.fixture
def logins(tmp_path: Path) -> Logins:
    """Return logins whose file and folder do not exist yet."""
    return Logins(tmp_path / "config" / "fastdeploy" / "logins.json")


def test_the_most_recent_login_is_current(logins: Logins) -> None:
    assert logins.current() is None
    logins.keep(STAGING)
    logins.keep(PRODUCTION)
    assert logins.current() == PRODUCTION
    assert logins.at(STAGING.url) == STAGING
    assert logins.at("https://elsewhere.example.com") is None


def test_removing_the_current_login_keeps_the_others(logins: Logins) -> None:
    logins.keep(STAGING)
    logins.keep(PRODUCTION)
    logins.remove(PRODUCTION.url)
    assert logins.current() == STAGING
    logins.remove(STAGING.url)
    assert logins.current() is None


def test_the_file_is_private_and_no_temporary_files_remain(logins: Logins) -> None:
    logins.keep(STAGING)
    logins.path.chmod(0o644)
    logins.keep(PRODUCTION)
    assert stat.S_IMODE(logins.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(logins.path.parent.stat().st_mode) == 0o700
    assert list(logins.path.parent.iterdir()) == [logins.path]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"current": 3}', '{"current": "x", "servers": []}'])
def test_an_invalid_file_means_not_signed_in(logins: Logins, content: str) -> None:
    logins.path.parent.mkdir(parents=True)
    logins.path.write_text(content)
    assert logins.current() is None
    logins.keep(STAGING)
    assert logins.current() == STAGING


def test_an_unusable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ClientError, match="The login could not be stored"):
        Logins(tmp_path / "file" / "logins.json").keep(STAGING)


def test_the_environment_overrides_the_login(logins: Logins) -> None:
    logins.keep(STAGING)
    logins.keep(PRODUCTION)
    assert open_api({}, logins).url == PRODUCTION.url
    assert open_api({"FASTDEPLOY_URL": f"{STAGING.url}/ui/"}, logins).url == STAGING.url
    with_token = open_api({"FASTDEPLOY_URL": "https://other.example.com", "FASTDEPLOY_TOKEN": "abc\n"}, logins)
    assert (with_token.url, with_token.credentials.token()) == ("https://other.example.com", "abc")
    assert open_api({"FASTDEPLOY_TOKEN": "abc"}, logins).url == PRODUCTION.url


def test_errors_without_a_login_explain_what_to_do(logins: Logins) -> None:
    with pytest.raises(NotSignedIn, match=r"fastdeploy login URL[\s\S]*fastdeploy serve"):
        open_api({}, logins)
    with pytest.raises(NotSignedIn, match=r"fastdeploy login https://deploy\.example\.com"):
        open_api({"FASTDEPLOY_URL": "deploy.example.com"}, logins)
    with pytest.raises(UsageError, match="FASTDEPLOY_URL"):
        open_api({"FASTDEPLOY_TOKEN": "abc"}, logins)
    with pytest.raises(UsageError, match="not a valid token"):
        open_api({"FASTDEPLOY_URL": "deploy.example.com", "FASTDEPLOY_TOKEN": "two words"}, logins)
