"""A process that does nothing but say so."""

from __future__ import annotations

import json
import sys

sys.stdin.readline()
sys.stderr.write("a line of its own\n")
sys.stderr.flush()
sys.stdout.write(json.dumps({"event": "done"}) + "\n")
