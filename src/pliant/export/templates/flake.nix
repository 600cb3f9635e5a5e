{
  description = "DESCRIPTION";

  inputs = INPUTS;

  outputs =
    {
      self,
      nixpkgs,
      nxc,
      filesystem,
    }:
    let
      system = "x86_64-linux";
    in
    {
      packages.${system} = nxc.lib.compose {
        COMPOSE
      };

      defaultPackage.${system} = self.packages.${system}."composition::FLAVOUR";

      devShell.${system} = nxc.devShells.${system}.nxcShell;
    };
}
