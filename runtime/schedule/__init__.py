"""Which frames a network sees."""
