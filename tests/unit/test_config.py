"""Test the settings and the initial files in a data folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from deploy.config import (
    ConfigurationError,
    Settings,
    SettingsError,
    prepare_data_dir,
    read_or_create_secret,
    secret_key,
)
from deploy.entrypoints.serve.settings import load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove settings from the environment and change to an empty folder."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


class TestSettings:
    def test_defaults_work_without_any_settings(self) -> None:
        settings = Settings()
        assert settings.is_embedded
        assert settings.secret_key is None
        assert settings.initial_user_password is None
        assert settings.runs_dir == Path("data/runs")

    def test_the_environment_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://db/x")
        monkeypatch.setenv("ACCESS_TOKEN_EXPIRE_MINUTES", "0.5")
        settings = Settings()
        assert not settings.is_embedded
        assert settings.access_token_expire_minutes == 0.5

    def test_the_environment_overrides_a_dotenv_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path(".env").write_text("SUDO_USER=deploy\nAPI_URL=http://file\nUNKNOWN=1\n")
        monkeypatch.setenv("API_URL", "http://environment")
        settings = Settings()
        assert (settings.sudo_user, settings.api_url) == ("deploy", "http://environment")

    def test_an_empty_value_counts_as_unset(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET_KEY", "")
        monkeypatch.setenv("WORKER_SLOTS", "")
        assert (Settings().secret_key, Settings().worker_slots) == (None, 20)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("WORKER_SLOTS", "0"),
            ("WORKER_SLOTS", "many"),
            ("ACCESS_TOKEN_EXPIRE_MINUTES", "-1"),
            ("ACCESS_TOKEN_EXPIRE_MINUTES", "0"),
            ("DEPLOYMENT_TIMEOUT_SECONDS", "0"),
            ("DEPLOYMENT_TIMEOUT_SECONDS", "31536001"),
            ("DEPLOYMENT_TIMEOUT_SECONDS", "inf"),
            ("OUTPUT_LIMIT_MIB", "0"),
            ("WORKER_GRACE_SECONDS", "nan"),
            ("SESSION_EXPIRE_DAYS", "1e300"),
            ("RETENTION_DAYS", "inf"),
            ("RETENTION_COUNT", "-1"),
            ("SECRET_KEY", "a"),
            ("SECRET_KEY", "1234567"),
            ("SECRET_KEY", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("API_URL", "deploy.example.com"),
            ("LOG_LEVEL", "loud"),
            ("ALLOWED_ORIGINS", "https://status.example.com"),
            ("ALLOWED_ORIGINS", "[1]"),
            ("COOKIE_SECURE", "perhaps"),
        ],
    )
    def test_invalid_values_are_rejected(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(ValidationError):
            Settings()
        with pytest.raises(SettingsError, match=f"^{name} [^\n]+$") as raised:
            load_settings()
        assert (f"(got {value.strip('[]')!r})" in str(raised.value)) == (name != "SECRET_KEY")

    def test_log_levels_of_earlier_versions_are_accepted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, level in (("WARN", "warning"), ("critical", "error"), ("Info", "info")):
            monkeypatch.setenv("LOG_LEVEL", name)
            assert Settings().log_level == level

    def test_secrets_are_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET_KEY", "a-very-secret")
        monkeypatch.setenv("INITIAL_USER_PASSWORD", "very-secret")
        assert "very-secret" not in repr(Settings()) + str(Settings()) + Settings().model_dump_json()

    def test_every_setting_is_described(self) -> None:
        assert all(field.description for field in Settings.model_fields.values())


class TestPrepareDataDir:
    def test_it_is_created_and_private(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path / "a" / "data")
        prepare_data_dir(settings)
        assert settings.data_dir.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)
        assert settings.runs_dir.stat().st_mode & 0o777 == 0o700
        assert [entry.name for entry in settings.data_dir.iterdir()] == ["runs"]

    def test_it_can_run_twice(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path / "data")
        prepare_data_dir(settings)
        (settings.runs_dir / "7").mkdir()
        prepare_data_dir(settings)
        assert (settings.runs_dir / "7").is_dir()

    def test_an_unusable_folder_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match=r"file/data cannot be used .*--data-dir or DATA_DIR"):
            prepare_data_dir(Settings(data_dir=tmp_path / "file" / "data"))

    def test_a_shared_folder_is_rejected(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o1777)
        (tmp_path / "of-another-user").touch()
        with pytest.raises(ConfigurationError, match="shared by all users"):
            prepare_data_dir(Settings(data_dir=tmp_path))
        assert tmp_path.stat().st_mode & 0o7777 == 0o1777
        # An empty folder, such as a tmpfs in a container, is made private.
        (tmp_path / "of-another-user").unlink()
        prepare_data_dir(Settings(data_dir=tmp_path))
        assert not tmp_path.stat().st_mode & 0o1066

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_another_users_folder_keeps_its_mode_and_new_files_belong_to_that_user(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        os.chown(tmp_path, 65534, 65534)
        settings = Settings(data_dir=tmp_path)
        prepare_data_dir(settings)
        secret_key(settings)
        assert tmp_path.stat().st_mode & 0o7777 == 0o700
        assert {entry.name: entry.stat().st_uid for entry in tmp_path.iterdir()} == {
            "runs": 65534,
            "secret-key": 65534,
        }

    def test_another_users_folder_is_rejected_except_for_root(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        with pytest.raises(ConfigurationError, match="it belongs to"):
            prepare_data_dir(Settings(data_dir=tmp_path))


class TestSecretKey:
    def test_the_setting_takes_precedence(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, secret_key=SecretStr("a key of mine"))
        assert secret_key(settings) == "a key of mine"
        assert list(tmp_path.iterdir()) == []

    def test_with_the_bundled_database_it_is_generated_once(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path)
        first = secret_key(settings)
        assert len(first) == 64
        assert secret_key(settings) == first
        assert (tmp_path / "secret-key").stat().st_mode & 0o777 == 0o600

    def test_with_an_external_database_it_is_required(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, database_url="postgresql+asyncpg://db/x")
        with pytest.raises(ConfigurationError, match="SECRET_KEY is missing"):
            secret_key(settings)

    def test_an_empty_key_counts_as_missing(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, secret_key=SecretStr(""), database_url="postgresql+asyncpg://db/x")
        with pytest.raises(ConfigurationError):
            secret_key(settings)


class TestStoredSecret:
    def test_the_first_value_is_kept(self, tmp_path: Path) -> None:
        assert read_or_create_secret(tmp_path / "key", "one") == "one"
        assert read_or_create_secret(tmp_path / "key", "two") == "one"
        assert [entry.name for entry in tmp_path.iterdir()] == ["key"]

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot be read or written"):
            read_or_create_secret(tmp_path / "gone" / "key", "one")
