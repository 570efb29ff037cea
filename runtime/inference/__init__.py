"""The networks in ONNX Runtime: providers, sessions, the cores they may use, and checks of what goes in."""
