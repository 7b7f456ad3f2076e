"""A trainer process that only prints."""

from __future__ import annotations

import json
import sys

sys.stdin.readline()
sys.stderr.write("a separate line\n")
sys.stderr.flush()
sys.stdout.write(json.dumps({"event": "done"}) + "\n")
