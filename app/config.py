"""Settings: typed, frozen, read once from environment variables `NNMASS_*` and passed in."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Annotated, Literal

from limits import parse
from platformdirs import user_data_path
from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SCHEMES = {
    "database_url": ("postgresql://", "postgres://", "postgresql+psycopg://"),
    "broker_url": ("redis://", "rediss://", "unix://"),
}
"""The allowed URL prefixes of each server. Any other URL, or an empty one, could be taken for a different server."""


SECRETS = Path("/run/secrets")
"""Where Docker and Kubernetes put secrets as files: the file `nnmass_secret_key` sets the variable of that name."""


class Settings(BaseSettings):
    """Settings of one process of the service.

    Without `database_url` and `broker_url` the service runs embedded: `data_dir` holds SQLite and the notifications.
    With both it runs on PostgreSQL and Redis. Only one of the two is refused.
    """

    model_config = SettingsConfigDict(
        env_prefix="NNMASS_",
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("nnmass"), description="Data folder of embedded mode."
    )
    database_url: SecretStr | None = Field(None, description="PostgreSQL URL of full mode.")
    broker_url: SecretStr | None = Field(None, description="Redis URL of full mode.")
    secret_key: SecretStr | None = Field(
        None, min_length=16, description="Secret that signs cursors; equal in all API processes."
    )
    require_keys: bool = Field(
        False, description="Require an API key for every request. Once a key exists, keys are always required."
    )
    allow_public: bool = Field(
        False, description="Listen beyond loopback without keys, behind a proxy that authenticates."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Accepted host names, separated by commas. Without keys: only loopback names."
    )
    rate_limit: str = Field("6000/minute", description="Rate limit for each owner and API process.")
    most_waiting: int = Field(1000, ge=1, description="Maximum number of queued and running jobs of an owner.")

    data_root: Path = Field(
        default_factory=lambda: user_data_path("nnmass") / "datasets",
        description="Folder of the datasets on the worker.",
    )

    train_device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto", description="Training device. auto selects CUDA, then MPS, then the CPU."
    )
    train_processes: int = Field(1, ge=1, description="Number of processes (GPUs) that train one network together.")
    train_idle_seconds: float = Field(
        300.0,
        ge=0,
        description="A process with torch stays for this time after a training, and the next one is forked from it. 0: "
        "each training starts a process that imports torch.",
    )
    checkpoint_seconds: float = Field(
        300.0, gt=0, description="Interval of checkpoints within an epoch. Each epoch also ends with a checkpoint."
    )

    lease_seconds: float = Field(
        15.0, gt=0, description="A running job is requeued if its worker sends no heartbeat for this time."
    )
    heartbeat_seconds: float = Field(
        1.0, gt=0, description="Interval in which a worker renews its lease and checks for a cancel request."
    )
    silence_seconds: float = Field(
        3600.0,
        gt=0,
        description="A process that trains, measures or exports is stopped if it has no output for this time.",
    )
    sweep_seconds: float = Field(2.0, gt=0, description="Interval of the sweeps that recover jobs.")
    renotify_seconds: float = Field(
        4.0,
        gt=0,
        description="Workers are notified again of a job that is queued for this time.",
        validation_alias=AliasChoices(
            "NNMASS_RENOTIFY_SECONDS", "NNMASS_RING_AGAIN_SECONDS"
        ),  # the old name still works
    )
    most_attempts: int = Field(3, ge=1, description="A job fails after its worker has died this many times.")

    log_format: Literal["text", "json"] = Field("text", description="Format of log lines.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Minimum level of logged messages."
    )
    metrics_token_file: Path | None = Field(
        None, description="File with a token for `/metrics`, as an alternative to a key with the scope `admin`."
    )
    retention_days: float | None = Field(
        None, gt=0, description="Delete searches that ended more than this many days ago, every hour. Unset: never."
    )
    retention_keep_tagged: bool = Field(False, description="Never delete searches with a tag by age.")

    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="Maximum size of a request body.")
    body_seconds: float = Field(10.0, gt=0, description="Maximum time for a client to send a request body.")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _by_commas(cls, names: object) -> object:
        return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @field_validator("rate_limit")
    @classmethod
    def _a_rate(cls, rate: str) -> str:
        try:
            parse(rate)
        except ValueError:
            raise ValueError("must be a rate such as 6000/minute") from None
        return rate

    @field_validator("database_url", "broker_url")
    @classmethod
    def _of_known_kind(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(SCHEMES[str(info.field_name)]):
            raise ValueError(f"must start with {' or '.join(SCHEMES[str(info.field_name)])}")
        return url

    @model_validator(mode="after")
    def _both_or_neither(self) -> Settings:
        if (self.database_url is None) != (self.broker_url is None):
            raise ValueError("set both NNMASS_DATABASE_URL and NNMASS_BROKER_URL, or neither for embedded mode")
        return self

    @property
    def embedded(self) -> bool:
        """Whether database and broker live in the data folder."""
        return self.database_url is None

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL, including the driver's name."""
        if self.database_url is None:
            return f"sqlite:///{self.database_file}"
        url = self.database_url.get_secret_value()
        for plain in ("postgresql://", "postgres://"):
            if url.startswith(plain):
                return "postgresql+psycopg://" + url.removeprefix(plain)
        return url

    @property
    def database_file(self) -> Path:
        """The database file of embedded mode."""
        return self.data_dir / "nnmass.db"

    @property
    def notifications_dir(self) -> Path:
        """The folder of embedded mode's message broker."""
        return self.data_dir / "notifications"

    @property
    def training_dir(self) -> Path:
        """The folder of checkpoints. If worker machines share it, a training can resume on any of them."""
        return self.data_dir / "training"

    def signing_key(self) -> str:
        """Return the key that signs cursors: the setting, the data folder's key, or one derived from the database URL.

        A forged cursor can only change where a list of its own owner starts, so a key that all replicas can derive
        from shared settings is secure enough.
        """
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        if self.embedded:
            return _key_in(self.data_dir / "secret_key")
        return hashlib.sha256(f"cursor signing {self.sqlalchemy_url}".encode()).hexdigest()


def _key_in(path: Path) -> str:
    """Return the key in a file that only its owner can read; create the file on first use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass  # created by an earlier start
    return path.read_text()
