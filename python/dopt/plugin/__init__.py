"""What the training plug-ins of all frameworks share: settings, grids, ranges, quantized ONNX, the result folder."""
