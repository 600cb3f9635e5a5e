# A container's disk: its host has mounted it, at the same path, before it began.
mountPoint:
{ pkgs, ... }:
{
  systemd.services.data-disk = {
    wantedBy = [ "multi-user.target" ];
    path = [ pkgs.util-linux ];
    script = "mountpoint --quiet ${mountPoint}";
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
  };
}
