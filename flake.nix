{
  description = "How far does a distributed file system fold?";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "aarch64-linux"
        "x86_64-linux"
      ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.python3Packages.buildPythonApplication {
          pname = "pliant";
          version = (builtins.fromTOML (builtins.readFile ./pyproject.toml)).project.version;
          pyproject = true;
          src = self;
          build-system = [ pkgs.python3Packages.setuptools ];
          dependencies = [
            pkgs.python3Packages.click
            pkgs.python3Packages.jinja2
            pkgs.python3Packages.matplotlib
            pkgs.python3Packages.mpi4py
            pkgs.python3Packages.numpy
            pkgs.python3Packages.pydantic
            pkgs.python3Packages.rich
            pkgs.python3Packages.scipy
          ];
          # MPICH is a package of Nix here, not of Python.
          pythonRemoveDeps = [ "mpich" ];
          makeWrapperArgs = [ "--prefix PATH : ${pkgs.mpich}/bin" ];
        };
      });

      apps = each (pkgs: {
        default = {
          type = "app";
          program = "${self.packages.${pkgs.stdenv.hostPlatform.system}.default}/bin/pliant";
        };
        pliant = self.apps.${pkgs.stdenv.hostPlatform.system}.default;
      });

      devShells = each (pkgs: {
        default = import ./shell.nix { inherit pkgs; };
      });
    };
}
