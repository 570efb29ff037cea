"""Labels that no network made for their frame: those of other frames, moved along."""
