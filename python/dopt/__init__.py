"""Python side of dopt: everything that needs onnx, onnxruntime or numpy. Importing it loads nothing heavy."""
