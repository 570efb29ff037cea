"""The export side: PyTorch to ONNX (needs torch and onnx)."""
