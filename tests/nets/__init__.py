"""Modules and their files against definitions, on one thread: the networks are small."""

import importlib.util

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)
