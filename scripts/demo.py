"""Demonstrate the service: start it, submit a budget, follow the search, print the ranking, stop the service.

Uses a temporary data folder and a free port; needs only the installed package.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from rich.console import Console

from nnmass import Client
from nnmass.cli.printing import print_answer
from scripts.running import service

SPACE = "densenet-cifar"

console = Console()


def main() -> None:
    """Run the demonstration."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="nnmass-demo-") as folder,
        service(Path(folder)) as address,
        Client(address) as client,
    ):
        console.print(
            f"The service runs on {address}; it is asked for the most NN-Mass within 1 M params and 150 M MACs."
        )
        with console.status("searching") as status:
            answer = client.search(
                SPACE,
                max_params="1M",
                max_macs="150M",
                name="demo",
                progress=lambda event: status.update(f"{event.status}: {event.message}"),
            )
    print_answer(answer)
    console.print(f"Done in {time.monotonic() - started:.1f} s. `make serve` keeps it running, with pages to look at.")


if __name__ == "__main__":
    main()
