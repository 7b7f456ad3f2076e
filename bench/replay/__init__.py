"""Replay searches on networks that other people trained: `python -m bench.replay --data FOLDER`.

No network is trained: accuracies are those of public benchmarks, and NN-Mass is computed from each network's blocks.
"""
