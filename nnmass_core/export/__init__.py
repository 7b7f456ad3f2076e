"""Architectures as files: PyTorch source without torch; ONNX and TorchScript with it."""
