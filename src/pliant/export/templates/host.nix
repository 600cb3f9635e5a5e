# A machine that carries several nodes, each a NixOS container. Which of them are its own it knows by its name.
{
  lib,
  flavour,
  setup,
  hosts,
  nodes,
}:
{ pkgs, ... }:
let
  withDisk = lib.filterAttrs (name: node: node.disk != null) nodes;
  grid = lib.hasPrefix "g5k-" flavour.name;
  # `case` branches for bash: host -> its nodes that have a disk.
  disks = lib.concatMapStrings (host: ''
    ${host}) nodes="${toString (lib.attrNames (lib.filterAttrs (name: node: node.host == host) withDisk))}" ;;
  '') hosts;
in
{
  imports = lib.optional grid (import ./data-disk.nix { inherit lib flavour setup; } "/srv/nodes");

  boot.kernelModules = [
    "bridge"
    "fuse"
    "loop"
    "veth"
    "vxlan"
  ];

  containers = lib.mapAttrs (name: node: {
    autoStart = true;
    privateNetwork = true;
    hostBridge = "nodes";
    localAddress = "${node.address}/16";
    allowedDevices = [
      {
        node = "/dev/fuse";
        modifier = "rwm";
      }
    ];
    bindMounts = {
      "/dev/fuse".isReadOnly = false;
    }
    // lib.optionalAttrs (node.disk != null) {
      ${node.disk} = {
        hostPath = "/srv/nodes/${name}";
        isReadOnly = false;
      };
    };
    config = {
      imports = [ node.module ];
      networking.hosts = lib.mapAttrs' (other: each: lib.nameValuePair each.address [ other ]) nodes;
      networking.firewall.enable = false;
      # What VXLAN adds to a frame has to fit as well.
      systemd.services.mtu = {
        wantedBy = [ "network.target" ];
        before = [ "network.target" ];
        path = [ pkgs.iproute2 ];
        script = "ip link set eth0 mtu 1450";
        serviceConfig.Type = "oneshot";
      };
    };
  }) nodes;

  systemd.services =
    lib.mapAttrs' (
      name: node:
      lib.nameValuePair "container@${name}" {
        unitConfig.ConditionHost = node.host;
        after = [
          "nodes-network.service"
          "nodes-disks.service"
        ];
        requires = [
          "nodes-network.service"
          "nodes-disks.service"
        ];
      }
    ) nodes
    // {
      # The nodes' network is one for all hosts. Between them it travels in VXLAN, so that the site's own network sees no
      # addresses but the hosts'.
      nodes-network = {
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        after = [ "network-online.target" ];
        path = [
          pkgs.getent
          pkgs.iproute2
        ];
        script = ''
          address() {
            local ip
            read -r ip _ < <(getent ahostsv4 "$1")
            printf %s "$ip"
          }
          ip link add nodes type bridge
          ip link set nodes mtu 1450 up
          ip link add nodes-vxlan mtu 1450 master nodes type vxlan id 77 dstport 4789 local "$(address "$HOSTNAME")"
          ip link set nodes-vxlan up
          hosts=(${toString hosts})
          for host in "''${hosts[@]}"; do
            [ "$host" = "$HOSTNAME" ] || bridge fdb append 00:00:00:00:00:00 dev nodes-vxlan dst "$(address "$host")"
          done
        '';
        postStop = ''
          ip link delete nodes-vxlan || true
          ip link delete nodes || true
        '';
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
        };
      };

      # A node's disk is a file with its own file system, on the host's disk.
      nodes-disks = {
        wantedBy = [ "multi-user.target" ];
        after = lib.optional grid "data-disk.service";
        requires = lib.optional grid "data-disk.service";
        path = [
          pkgs.e2fsprogs
          pkgs.util-linux
        ];
        script = ''
          nodes=""
          case "$HOSTNAME" in
          ${disks}esac
          for node in $nodes; do
            mkdir --parents "/srv/nodes/$node"
            file="/srv/nodes/$node.disk"
            # One that is there is kept, so that a node that boots again finds its data.
            if [ ! -e "$file" ]; then
              truncate --size=${toString setup.params.disk_mib}M "$file.new"
              mkfs.ext4 -q -F "$file.new"
              mv "$file.new" "$file"
            fi
            mountpoint --quiet "/srv/nodes/$node" || mount -o loop "$file" "/srv/nodes/$node"
          done
        '';
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
        };
      };
    };
}
