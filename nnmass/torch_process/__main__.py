"""Read one request on standard input, carry it out, and report it as events: `python -m nnmass.torch_process`."""

from nnmass.torch_process.protocol import run
from nnmass.torch_process.work import WORK

MISSING_TORCH = "torch is not installed; install it with: pip install 'nnmass[train]'"

run(WORK, MISSING_TORCH)
