"""The custom operators: one file each, with contract, standard-ONNX body, PyTorch form and translation."""
