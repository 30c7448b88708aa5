"""The command line, the ground floor, the records and the reports of transfer-bench."""

__version__ = "0.1.0"
