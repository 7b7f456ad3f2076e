"""The trainer process on a machine without torch: the import of torch is blocked before it starts."""

from __future__ import annotations

import sys

sys.modules["torch"] = None  # type: ignore[assignment]

from worker.trainer import main  # noqa: E402

main()
