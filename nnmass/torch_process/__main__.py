"""`python -m nnmass.torch_process` reads one request on standard input, does it, and reports it as events."""

from nnmass.torch_process.protocol import run
from nnmass.torch_process.work import WORK

MISSING_TORCH = "torch is not installed; install it with: pip install 'nnmass[train]'"

run(WORK, MISSING_TORCH)
