"""Where frames come from: ``open_source`` picks the kind of source, one a file, that fits."""
