# The development shell, for those without flakes: `nix-shell`.
{
  pkgs ? import <nixpkgs> { },
}:
let
  python = pkgs.python3.withPackages (packages: [
    packages.click
    packages.hypothesis
    packages.jinja2
    packages.matplotlib
    packages.mpi4py
    packages.mypy
    packages.numpy
    packages.pip
    packages.pydantic
    packages.pytest
    packages.pytest-xdist
    packages.rich
    packages.scipy
    packages.setuptools
    packages.wheel
  ]);
in
pkgs.mkShell {
  packages = [
    python
    pkgs.ruff
    # What pliant deploys, and what it measures with.
    pkgs.ceph
    pkgs.fio
    pkgs.glusterfs
    pkgs.ior
    pkgs.moosefs
    pkgs.mpich
    pkgs.seaweedfs
    # What nodes are made of, and what the tests check with.
    pkgs.e2fsprogs
    pkgs.iproute2
    pkgs.shellcheck
    pkgs.tmux
    pkgs.util-linux
  ];
  # pliant finds its drivers by entry points, so it has to be installed: as it is here, and editable.
  shellHook = ''
    if [ ! -x .nix-venv/bin/pliant ]; then
      python -m venv --system-site-packages .nix-venv
      .nix-venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
    fi
    export PATH="$PWD/.nix-venv/bin:$PATH"
  '';
}
