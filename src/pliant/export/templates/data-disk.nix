# The disk on which a node keeps its data, mounted at a directory, for any role.
{
  lib,
  flavour,
  setup,
}:
mountPoint:
{ pkgs, ... }:
let
  # What Grid'5000 sets aside for users' data. Nothing but the partition of this name is ever formatted.
  partition = ''
    device=/dev/disk/by-partlabel/KDPL_TMP_disk0
    found=$(lsblk --noheadings --nodeps --output PARTLABEL "$(readlink --canonicalize "$device")")
    [ "$found" = KDPL_TMP_disk0 ] || { echo "$device is not that partition"; exit 1; }
  '';
  # Other machines have no disk to spare: a file with a file system of its own. It is not a directory, for servers
  # refuse to keep their data on the root file system.
  file = ''
    mkdir --parents /var/lib/pliant-disk
    truncate --size=${toString setup.params.disk_mib}M /var/lib/pliant-disk/data
    device=$(losetup --find --show /var/lib/pliant-disk/data)
  '';
  attach = if lib.hasPrefix "g5k-" flavour.name then partition else file;
in
{
  systemd.services.data-disk = {
    wantedBy = [ "multi-user.target" ];
    path = [
      pkgs.e2fsprogs
      pkgs.util-linux
    ];
    script = ''
      ${attach}
      # One that pliant has formatted is kept, so that a node that boots again finds its data.
      [ "$(blkid --output value --match-tag LABEL "$device")" = pliant-data ] || mkfs.ext4 -q -F -L pliant-data "$device"
      mkdir --parents ${lib.escapeShellArg mountPoint}
      mount "$device" ${lib.escapeShellArg mountPoint}
    '';
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
  };
}
