//! The lab's network: one node, its Services and pods, and no way out.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail};

use crate::home::Home;

/// The node's address.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 243, 0, 1);
/// The name server's address, on the node as well.
pub(super) const NAME_SERVER: &str = "10.243.0.10";
pub(super) const SERVICES: &str = "10.96.0.0/24";
/// The first address of the range is the API server's Service.
pub(super) const API_SERVICE: &str = "10.96.0.1";
pub(super) const PODS: &str = "10.244.0.0/24";

/// Makes the interfaces and routes, and the name server settings for those who enter the lab.
pub(super) fn prepare(home: &Home) -> Result<()> {
    let steps = [
        "link set lo up".to_owned(),
        // A bridge without ports stands in for a dummy interface, which not every kernel has.
        "link add node0 type bridge".to_owned(),
        format!("address add {NODE}/24 dev node0"),
        format!("address add {NAME_SERVER}/32 dev node0"),
        "link set node0 up".to_owned(),
        format!("route add {SERVICES} dev node0"),
    ];
    for step in steps {
        ip(&step)?;
    }
    // Both are settings of the network namespace, not of the machine.
    for (name, why) in [
        ("net/ipv4/ip_forward", "pods"),
        ("net/bridge/bridge-nf-call-iptables", "Services"),
    ] {
        let path = format!("/proc/sys/{name}");
        fs::write(&path, "1").with_context(|| {
            format!("cannot set {path}, which {why} need (is the module br_netfilter loaded?)")
        })?;
    }
    let resolv_conf = format!(
        "nameserver {NAME_SERVER}\nsearch svc.cluster.local cluster.local\noptions ndots:5 timeout:2\n"
    );
    fs::write(home.join("resolv.conf"), resolv_conf).context("cannot write resolv.conf")
}

fn ip(arguments: &str) -> Result<()> {
    let output = std::process::Command::new("/sbin/ip")
        .args(arguments.split(' '))
        .output();
    let output = output.context("cannot run ip")?;
    if !output.status.success() {
        bail!(
            "`ip {arguments}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
