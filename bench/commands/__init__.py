"""One file, one command; each file defines `command`."""
