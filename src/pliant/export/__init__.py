"""Studies as projects of other systems: each exporter turns a study into the texts of files. Pure.

Begin with `nixos_compose`; `units`, `images` and `nix` are how services, containers and Nix are written.
It may import studies and compositions, and knows nothing of what runs or was measured.
"""
