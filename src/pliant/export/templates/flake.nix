{
  description = "DESCRIPTION";

  inputs = {
    # The flavours of NixOS Compose are made for this release.
    nixpkgs.url = "github:NixOS/nixpkgs/23.05";
    nxc.url = "git+https://gitlab.inria.fr/nixos-compose/nixos-compose.git?rev=0c994a91ec163c051d8ef48e4ca5ba11766926c9";
  };

  outputs =
    {
      self,
      nixpkgs,
      nxc,
    }:
    let
      system = "x86_64-linux";
    in
    {
      packages.${system} = nxc.lib.compose {
        inherit nixpkgs system;
        setup = ./setup.toml;
        composition = ./composition.nix;
      };

      defaultPackage.${system} = self.packages.${system}."composition::FLAVOUR";

      devShell.${system} = nxc.devShells.${system}.nxcShell;
    };
}
