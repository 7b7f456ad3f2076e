"""Check every locked package for known vulnerabilities, and report which could not be checked.

python -m scripts.audit [--strict]

pip-audit ends with 0 when the advisories of a package are unavailable, as with a mirror without them. This script
reports the number of such packages; with --strict they are an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
VULNERABLE, NOT_LOOKED_UP = 1, 2


def main() -> int:
    """Print the result. Return 1 when a package is vulnerable, and with --strict 2 when one could not be checked."""
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--format", "json", "--disable-pip", "--require-hashes", "-r", str(LOCK)],
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout:
        print(done.stderr.strip())
        return VULNERABLE
    packages = json.loads(done.stdout)["dependencies"]
    for package in packages:
        for found in package.get("vulns", []):
            fixed = ", ".join(found["fix_versions"]) or "none yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    skipped = [package for package in packages if "skip_reason" in package]
    print(f"{len(packages) - len(skipped)} of {len(packages)} locked packages were looked up")
    if skipped:
        print(f"not looked up, for example: {skipped[0]['skip_reason']}")
    if any(package.get("vulns") for package in packages):
        return VULNERABLE
    return NOT_LOOKED_UP if skipped and "--strict" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
