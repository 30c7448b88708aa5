"""The studies: one file each; the folder is scanned."""
