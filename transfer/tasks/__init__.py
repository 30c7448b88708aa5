"""One file, one task; the folder is scanned."""
