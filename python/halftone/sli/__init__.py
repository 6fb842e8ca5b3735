"""Layers of PyTorch models, quantized one by one: :mod:`halftone.sli.quantization`. It needs PyTorch."""
