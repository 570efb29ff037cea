"""The kinds of source, one a file; ``arseg_edge.runtime.source`` picks the one that fits."""
