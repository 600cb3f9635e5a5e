"""pliant: how far does a distributed file system fold before its performance breaks?"""

__version__ = "0.1.0"
