"""The package's version, in a file of its own so that building a wheel imports nothing else."""

VERSION = "0.1.0"
