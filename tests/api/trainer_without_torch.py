"""The worker's own process on a machine without torch: the import system is told so before it starts."""

from __future__ import annotations

import sys

sys.modules["torch"] = None  # type: ignore[assignment]

from worker.trainer import main  # noqa: E402

main()
