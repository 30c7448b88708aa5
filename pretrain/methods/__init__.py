"""One file a method; the folder is scanned, and each file's `ENTRY` says what it is."""
