"""Settings of the service for a command, from the environment and the command's options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnmass.cli.exit_codes import refuse

if TYPE_CHECKING:
    from app.config import Settings

DataDir = Annotated[Path | None, typer.Option(help="Data folder of embedded mode.")]


def use_folder(data_dir: Path | None) -> None:
    """Set the data folder for this process and the processes that it starts."""
    if data_dir is not None:
        os.environ["NNMASS_DATA_DIR"] = str(data_dir)


def settings_here() -> Settings:
    """Return the settings of this process. A wrong setting ends the command with the setting's name."""
    from pydantic import ValidationError

    from app.config import Settings

    try:
        return Settings()
    except ValidationError as error:
        refuse("; ".join(f"{_variable(item['loc'])}{item['msg']}" for item in error.errors(include_input=False)))


def _variable(place: tuple[int | str, ...]) -> str:
    return f"NNMASS_{str(place[0]).upper().removeprefix('NNMASS_')}: " if place else ""
