"""Replay campaigns on networks that other people trained: `python -m bench.campaigns --data FOLDER`.

No network is trained: the accuracy of a proposal is looked up in a public benchmark. There is no validation part, so
that choosing and the answer read the same accuracy.
"""
