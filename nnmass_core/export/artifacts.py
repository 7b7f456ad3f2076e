"""The kinds of files that a training gives: one of each for each seed. Those of one seed belong together.

A seed draws the wiring of the network, so weights load only into the source of their own seed. Workers write the files
and clients name them, so this module loads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Artifact:
    """A kind of file.

    Args:
        pattern: The name of the file, with `{seed}`.
        media_type: The media type of the file.
    """

    pattern: str
    media_type: str

    def name(self, seed: int) -> str:
        """Return the name of the file of a seed."""
        return self.pattern.format(seed=seed)


ARTIFACTS = {
    "weights": Artifact("weights-seed{seed}.pt", "application/octet-stream"),
    "source": Artifact("network-seed{seed}.py", "text/x-python"),
    "definition": Artifact("network-seed{seed}.json", "application/json"),
    "onnx": Artifact("model-seed{seed}.onnx", "application/octet-stream"),
    "metadata": Artifact("model-seed{seed}.json", "application/json"),
}
"""The kinds by the names that requests use, in the order in which pages show them."""
