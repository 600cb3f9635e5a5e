"""Platforms: where hosts come from, and how the machine that carries them is reached."""
