"""The runtime side."""
