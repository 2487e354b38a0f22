"""Python side of dopt: everything that needs onnx, onnxruntime or numpy. Importing it loads nothing heavy."""

#: The version in package.json.
__version__ = "0.1.0"
