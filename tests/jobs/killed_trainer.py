"""The trainer, killed with SIGKILL at a chosen moment: `python -m tests.jobs.killed_trainer`.

The file that NNMASS_TEST_DEATHS names lists the remaining moments, one a line. Each is removed before its kill.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker import trainer, training

DEATHS = Path(os.environ["NNMASS_TEST_DEATHS"])


def die_at(moment: str) -> None:
    """Die if this is the next moment on the list."""
    first, *others = DEATHS.read_text().split("\n")
    if first == moment:
        DEATHS.write_text("\n".join(others))
        os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, moment: Callable[..., str]) -> None:
    """Put a moment before a function."""
    whole = getattr(owner, name)

    def call_unless_killed(*args: Any, **kwargs: Any) -> Any:
        die_at(moment(*args, **kwargs))
        return whole(*args, **kwargs)

    setattr(owner, name, call_unless_killed)


before(training, "load", lambda *args: "before the first epoch")
before(training._Run, "on_step", lambda run, epoch, step, steps: f"epoch {epoch} step {step}")
before(training._Run, "epoch", lambda run, done: f"end of epoch {done.epoch}")
before(training._Run, "on_checkpoint", lambda run, state, epoch, step: f"before the checkpoint of epoch {epoch}")
before(training, "_sync_folder", lambda folder: "checkpoint renamed, not reported")
before(training._Run, "_finish", lambda run, outcome: "before the files")
before(training, "_figures", lambda *args: "at the end")
_replace = Path.replace


def replace(path: Path, target: Any) -> Any:
    """Die with a file written and not yet renamed."""
    if path.name.endswith(".unfinished"):
        die_at("while a checkpoint is written")
    return _replace(path, target)


Path.replace = replace  # type: ignore[method-assign,assignment]
trainer.main()
