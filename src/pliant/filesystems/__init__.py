"""The drivers of file systems, one module each: from roles, options and a seed to a composition. Pure.

They are found through the entry point group `pliant.filesystems`, as those of other packages are.
Begin with `glusterfs`. They may import `composition` and the words of the root, and nothing imports them.
"""
