# The disk on which a node keeps its data, mounted at a directory, for any role.
{
  lib,
  flavour,
  setup,
}:
mountPoint:
{ pkgs, ... }:
let
  at = lib.escapeShellArg mountPoint;

  # One that pliant has formatted is kept, so that a node that boots again finds its data.
  mount = ''
    [ "$(blkid --output value --match-tag LABEL "$device")" = pliant-data ] || mkfs.ext4 -q -F -L pliant-data "$device"
    mkdir --parents ${at}
    mount "$device" ${at}
  '';

  # What Grid'5000 sets aside for users' data. Nothing but the partition of this name is ever formatted.
  partition = ''
    device=/dev/disk/by-partlabel/KDPL_TMP_disk0
    found=$(lsblk --noheadings --nodeps --output PARTLABEL "$(readlink --canonicalize "$device")")
    [ "$found" = KDPL_TMP_disk0 ] || { echo "$device is not that partition"; exit 1; }
    ${mount}'';

ELSEWHERE
in
{
  systemd.services.data-disk = {
    wantedBy = [ "multi-user.target" ];
    path = [
      pkgs.e2fsprogs
      pkgs.util-linux
    ];
    script = if lib.hasPrefix "g5k-" flavour.name then partition else elsewhere;
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
  };
}
