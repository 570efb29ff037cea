"""AR-Seg on the device."""
