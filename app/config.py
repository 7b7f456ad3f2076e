"""Settings: typed, frozen, read once from environment variables `NNMASS_*` and passed in."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SCHEMES = {
    "database_url": ("postgresql://", "postgres://", "postgresql+psycopg://"),
    "broker_url": ("redis://", "rediss://", "unix://"),
}
"""How the URL of each server may start; anything else (or nothing) would be taken for some other server."""


class Settings(BaseSettings):
    """How one process of the service runs.

    Without `database_url` and `broker_url` it runs embedded: SQLite and bells in `data_dir`. With both it runs on
    PostgreSQL and Redis. One without the other is refused.
    """

    model_config = SettingsConfigDict(env_prefix="NNMASS_", frozen=True, extra="ignore")

    data_dir: Path = Field(default_factory=lambda: user_data_path("nnmass"), description="Folder of embedded mode.")
    database_url: SecretStr | None = Field(None, description="PostgreSQL URL of full mode.")
    broker_url: SecretStr | None = Field(None, description="Redis URL of full mode.")
    secret_key: SecretStr | None = Field(
        None, min_length=16, description="Signs cursors; the same in every API process."
    )
    allow_public: bool = Field(False, description="Listen beyond loopback although requests need no key yet.")

    data_root: Path = Field(
        default_factory=lambda: user_data_path("nnmass") / "datasets", description="Folder of data sets, on the worker."
    )

    train_device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto", description="What a training worker trains on; auto takes CUDA before MPS before the CPU."
    )
    train_processes: int = Field(1, ge=1, description="Processes (GPUs) that train one network together.")
    checkpoint_seconds: float = Field(
        300.0, gt=0, description="A training keeps its state after every epoch, and within an epoch this often."
    )

    lease_seconds: float = Field(
        15.0, gt=0, description="A running job whose worker is silent for longer is taken back."
    )
    heartbeat_seconds: float = Field(
        1.0, gt=0, description="How often a worker renews its lease and looks for a cancel."
    )
    sweep_seconds: float = Field(2.0, gt=0, description="How often each process looks for what was left behind.")
    ring_again_seconds: float = Field(4.0, gt=0, description="A queued job unclaimed for this long is announced again.")
    most_attempts: int = Field(3, ge=1, description="A job whose worker died this often is failed.")

    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="Largest request body.")
    body_seconds: float = Field(10.0, gt=0, description="Longest time a client may take to send its body.")

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
        """The database's URL with its driver named."""
        if self.database_url is None:
            return f"sqlite:///{self.data_dir / 'nnmass.db'}"
        url = self.database_url.get_secret_value()
        for plain in ("postgresql://", "postgres://"):
            if url.startswith(plain):
                return "postgresql+psycopg://" + url.removeprefix(plain)
        return url

    @property
    def bells_dir(self) -> Path:
        """Folder of embedded mode's message broker."""
        return self.data_dir / "bells"

    @property
    def training_dir(self) -> Path:
        """Folder of checkpoints, on the worker; shared between machines, a training goes on on any of them."""
        return self.data_dir / "training"

    def signing_key(self) -> str:
        """Return the key that signs cursors: as set, else from the data folder, else derived from the database's URL.

        A forged cursor could only choose where a list of its own owner starts, so a key that all replicas can derive
        from what they share is enough.
        """
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        if self.embedded:
            return _key_in(self.data_dir / "secret_key")
        return hashlib.sha256(f"cursor signing {self.sqlalchemy_url}".encode()).hexdigest()


def _key_in(path: Path) -> str:
    """Return the key kept in a file that only its owner can read, made on first use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass  # made by an earlier start
    return path.read_text()
