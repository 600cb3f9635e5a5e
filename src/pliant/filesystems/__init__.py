"""File system drivers: one module each, nothing else; found through the entry point group `pliant.filesystems`."""
