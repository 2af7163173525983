//! Configuration files and arguments of the node's programs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{NODE, image, network};
use crate::home::Home;

/// The controllers that the lab needs. `node-lifecycle` is one: nobody else lifts the taint of a new node.
const CONTROLLERS: [&str; 19] = [
    "cronjob",
    "daemonset",
    "deployment",
    "disruption",
    "endpoints",
    "endpointslice",
    "garbage-collector",
    "horizontal-pod-autoscaler",
    "job",
    "namespace",
    "node-lifecycle",
    "pod-garbage-collector",
    "replicaset",
    "root-ca-certificate-publisher",
    "serviceaccount",
    "serviceaccount-token",
    "statefulset",
    "taint-eviction",
    "ttl-after-finished",
];

pub(super) fn write(home: &Home) -> Result<()> {
    file(home, "containerd.toml", &containerd(home))?;
    file(home, "cni/10-lab.conflist", &container_network(home).to_string())?;
    file(home, "kubelet.json", &kubelet(home).to_string())?;
    file(home, "proxy.json", &proxy(home).to_string())?;
    file(home, "audit.json", &audit().to_string())?;
    file(home, "Corefile", &name_server(home))
}

fn file(home: &Home, name: &str, text: &str) -> Result<()> {
    let path = home.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn containerd(home: &Home) -> String {
    let dir = home.dir().display();
    let image = image::NAME;
    // restrict_oom_score_adj: root in a sandboxed machine may lack CAP_SYS_RESOURCE, and then no container starts.
    format!(
        r#"version = 2
root = "{dir}/ctd/root"
state = "{dir}/ctd/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{dir}/ctd/sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
disable_tcp_service = true
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{dir}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

/// One bridge for all pods. Nothing is masqueraded, so a database sees each pod's own address.
fn container_network(home: &Home) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [{
            "type": "bridge",
            "bridge": "lab0",
            "isDefaultGateway": true,
            "hairpinMode": true,
            "ipMasq": false,
            "ipam": {"type": "host-local", "dataDir": home.join("cni-state"), "ranges": [[{"subnet": network::PODS}]]},
        }],
    })
}

fn kubelet(home: &Home) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": home.join("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": home.join("pki/node.crt"),
        "tlsPrivateKeyFile": home.join("pki/node.key"),
        "healthzPort": 0,
        "readOnlyPort": 0,
        "clusterDNS": [network::NAME_SERVER],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "containerRuntimeEndpoint": format!("unix://{}", text(&home.join("ctd/sock"))),
        "podLogsDir": home.join("pods"),
        "imageMinimumGCAge": "24h",
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        // A changed Secret reaches the pods that mount it within a second.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "syncFrequency": "1s",
        // Tests kill programs again and again, and wait for their restarts.
        "featureGates": {"KubeletCrashLoopBackOffMax": true},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "maxPods": 200,
    })
}

fn proxy(home: &Home) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": home.join("proxy.kubeconfig")},
        "hostnameOverride": NODE,
        "clusterCIDR": network::PODS,
        "bindAddress": network::NODE,
        // These are limits of the whole machine, and not the lab's to set.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

/// Everything that tests, and what they test, ask of the API; not what the cluster does by itself.
fn audit() -> Value {
    let own = [
        "lab-controller-manager",
        "lab-proxy",
        "lab-scheduler",
        "system:apiserver",
        &format!("system:node:{NODE}"),
    ];
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "None", "users": own}, {"level": "Metadata"}],
    })
}

/// With a time to live of a second, so that a name that moves is found where it moved to.
fn name_server(home: &Home) -> String {
    format!(
        ".:53 {{\n    bind {}\n    errors\n    cache 1\n    kubernetes cluster.local {{\n        kubeconfig {}\n        ttl 1\n        pods insecure\n    }}\n}}\n",
        network::NAME_SERVER,
        home.join("proxy.kubeconfig").display(),
    )
}

fn arguments(program: &str, flags: &[(&str, String)]) -> Vec<String> {
    let flags = flags.iter().map(|(name, value)| format!("--{name}={value}"));
    [program.to_owned()].into_iter().chain(flags).collect()
}

pub(super) fn containerd_arguments(home: &Home) -> Vec<String> {
    vec!["--config".to_owned(), text(&home.join("containerd.toml"))]
}

pub(super) fn etcd_arguments(home: &Home) -> Vec<String> {
    let (client, peer) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
    let flags = [
        ("name", "lab".to_owned()),
        ("data-dir", text(&home.join("etcd"))),
        ("listen-client-urls", client.to_owned()),
        ("advertise-client-urls", client.to_owned()),
        ("listen-peer-urls", peer.to_owned()),
        ("initial-advertise-peer-urls", peer.to_owned()),
        ("initial-cluster", format!("lab={peer}")),
        // Nothing of a lab is to survive the machine.
        ("unsafe-no-fsync", "true".to_owned()),
        ("log-level", "warn".to_owned()),
    ];
    arguments("etcd", &flags)
}

pub(super) fn apiserver_arguments(home: &Home) -> Vec<String> {
    let issuer = "https://kubernetes.default.svc";
    let pki = |name: &str| text(&home.join("pki").join(name));
    let flags = [
        ("etcd-servers", "http://127.0.0.1:2379".to_owned()),
        ("bind-address", "0.0.0.0".to_owned()),
        ("advertise-address", network::NODE.to_string()),
        ("secure-port", "6443".to_owned()),
        ("cert-dir", pki("")),
        ("tls-cert-file", pki("api.crt")),
        ("tls-private-key-file", pki("api.key")),
        ("client-ca-file", pki("ca.crt")),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("service-account-issuer", issuer.to_owned()),
        ("api-audiences", issuer.to_owned()),
        ("service-account-key-file", pki("sa.pub")),
        ("service-account-signing-key-file", pki("sa.key")),
        ("service-cluster-ip-range", network::SERVICES.to_owned()),
        ("kubelet-client-certificate", pki("admin.crt")),
        ("kubelet-client-key", pki("admin.key")),
        ("kubelet-certificate-authority", pki("ca.crt")),
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("audit-policy-file", text(&home.join("audit.json"))),
        ("audit-log-path", text(&home.join("log/audit.jsonl"))),
        // One file, whatever its size: tests read it from its beginning.
        ("audit-log-maxsize", "100000".to_owned()),
    ];
    arguments("kube-apiserver", &flags)
}

fn kubeconfigs(home: &Home, name: &str) -> [(&'static str, String); 3] {
    let path = text(&home.join(format!("{name}.kubeconfig")));
    [
        "kubeconfig",
        "authentication-kubeconfig",
        "authorization-kubeconfig",
    ]
    .map(|flag| (flag, path.clone()))
}

pub(super) fn manager_arguments(home: &Home) -> Vec<String> {
    let controllers: Vec<String> = CONTROLLERS
        .iter()
        .map(|name| format!("{name}-controller"))
        .collect();
    let mut flags = kubeconfigs(home, "manager").to_vec();
    flags.extend([
        ("bind-address", "127.0.0.1".to_owned()),
        ("leader-elect", "false".to_owned()),
        // With accounts of their own the controllers take five seconds more to start.
        ("use-service-account-credentials", "false".to_owned()),
        ("service-account-private-key-file", text(&home.join("pki/sa.key"))),
        ("root-ca-file", text(&home.join("pki/ca.crt"))),
        ("allocate-node-cidrs", "false".to_owned()),
        ("controllers", controllers.join(",")),
        ("kube-api-qps", "200".to_owned()),
        ("kube-api-burst", "400".to_owned()),
    ]);
    arguments("kube-controller-manager", &flags)
}

pub(super) fn scheduler_arguments(home: &Home) -> Vec<String> {
    let mut flags = kubeconfigs(home, "scheduler").to_vec();
    flags.extend([
        ("bind-address", "127.0.0.1".to_owned()),
        ("leader-elect", "false".to_owned()),
    ]);
    arguments("kube-scheduler", &flags)
}

pub(super) fn kubelet_arguments(home: &Home) -> Vec<String> {
    let flags = [
        ("config", text(&home.join("kubelet.json"))),
        ("kubeconfig", text(&home.join("node.kubeconfig"))),
        ("root-dir", text(&home.join("kubelet"))),
        ("hostname-override", NODE.to_owned()),
        ("node-ip", network::NODE.to_string()),
    ];
    arguments("kubelet", &flags)
}

pub(super) fn proxy_arguments(home: &Home) -> Vec<String> {
    arguments("kube-proxy", &[("config", text(&home.join("proxy.json")))])
}

pub(super) fn dns_arguments(home: &Home) -> Vec<String> {
    vec!["-conf".to_owned(), text(&home.join("Corefile"))]
}
