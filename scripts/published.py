"""Print a table for docs/published.md: the published networks as budgets, and what the search proves for each."""

from __future__ import annotations

from dataclasses import dataclass

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.codec import encode
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from nnmass_core.wiring import concatenation_cells


@dataclass(frozen=True)
class Row:
    """A network of the publication's tables; FLOPs there are 2 x MACs for CIFAR-10."""

    name: str
    task: str
    space: str
    params: int
    macs: int
    error_percent: float

    @property
    def budget(self) -> dict[str, int]:
        """The network's costs as limits."""
        return {"max_params": self.params, "max_macs": self.macs}


ROWS = (
    Row("NN-Mass CIFAR-A", "CIFAR-10", "densenet-cifar", 5_020_000, 975_000_000, 3.00),
    Row("NN-Mass CIFAR-C", "CIFAR-10", "densenet-cifar", 3_820_000, 600_000_000, 3.18),
    Row("NN-Mass-A", "ImageNet", "mobilenet-v2-imagenet-free", 2_300_000, 200_000_000, 27.1),
    Row("NN-Mass-B", "ImageNet", "mobilenet-v2-imagenet-free", 3_700_000, 393_000_000, 26.7),
)


def shown(network: Architecture) -> str:
    """Return a short form of an architecture."""
    if cells := concatenation_cells(network):
        return f"width x depth, t_c: {', '.join(f'{c.width}x{c.depth} t {c.skip_channels}' for c in cells)}"
    parts = (encode(part.definition) for part in network.evaluation.parts)
    stages = ", ".join("({expansion}, {channels}, {repeats})".format(**stage) for stage in parts)
    return f"{network.input_shape[1]} px; (expansion, channels, repeats): {stages}"


def line(row: Row) -> str:
    """Return one row of the table: the published figures, then the proved optimum within them."""
    found = search(
        SearchRequest(space=resolve_space(row.space), budget=Budget(max_params=row.params, max_macs=row.macs), top_k=1)
    )
    (best,), certificate = found.ranking, found.certificate
    assert certificate.space_size is not None
    figures, proof = best.evaluation, "proved" if certificate.optimal else "not proved"
    return (
        f"| {row.name} ({row.task}) | {row.params / 1e6:.2f} M | {row.macs / 1e6:,.0f} M | {row.error_percent} %"
        f" | `{row.space}` | {float(figures.mass):,.1f}, {proved_of(certificate.space_size)} {proof}"
        f" | {figures.params:,} | {figures.macs:,} | {shown(best.architecture)} |"
    )


def proved_of(size: int) -> str:
    """Return the size of the space in words."""
    return f"best of {size:.1e}"


def main() -> None:
    """Print the table."""
    print("| published | params | MACs | error | space | most NN-Mass | its params | its MACs | network |")
    print("|---|--:|--:|--:|---|--:|--:|--:|---|")
    for row in ROWS:
        print(line(row))


if __name__ == "__main__":
    main()
