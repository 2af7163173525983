//! The node: what is started inside the lab's namespaces, in which order.

mod config;
mod image;
mod network;
mod pki;
mod programs;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;

use crate::home::{Home, State};
use crate::poll::eventually;
use programs::Programs;

pub(crate) use image::NAME as IMAGE;
pub(crate) use network::NODE as ADDRESS;
pub(crate) use pki::{database_authority, private};

/// The node's name, and with it the name in its certificate.
const NODE: &str = "localhost";

/// Starts everything, says when it is ready, and stays until a program ends.
pub(crate) fn run(home: &Home) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let programs = Programs::new(home);
        tokio::select! {
            started = start(home, &programs) => started?,
            ended = programs.first_to_end() => bail!(ended?),
            () = tokio::time::sleep(Duration::from_mins(3)) => bail!("not ready after three minutes: see {}", home.join("log").display()),
        }
        fs::write(home.join("ready"), "")?;
        let ended = programs.first_to_end().await?;
        bail!("{ended}")
    });
    if let Err(error) = &outcome {
        let error: &anyhow::Error = error;
        fs::write(home.join("failed"), format!("{error:#}"))?;
    }
    outcome
}

async fn start(home: &Home, programs: &Programs) -> Result<()> {
    let state = home.state()?;
    for directory in ["log", "pki", "cni"] {
        fs::create_dir_all(home.join(directory))?;
    }
    network::prepare(home)?;
    pki::write(home)?;
    config::write(home)?;
    image::write(&home.join("image.tar"))?;
    control_plane(home, &state, programs).await?;
    node(home, &state, programs).await
}

async fn control_plane(home: &Home, state: &State, programs: &Programs) -> Result<()> {
    programs.spawn(
        "containerd",
        "containerd".as_ref(),
        &config::containerd_arguments(home),
    )?;
    programs.spawn("etcd", &state.kube, &config::etcd_arguments(home))?;
    programs.spawn("apiserver", &state.kube, &config::apiserver_arguments(home))?;
    let client = crate::lab::admin_client(home).await?;
    let ready = eventually(
        "the API server to be ready",
        Duration::from_secs(90),
        async || {
            let request = http_get("/readyz")?;
            Ok(client.request_text(request).await.is_ok().then_some(()))
        },
    );
    ready.await
}

async fn node(home: &Home, state: &State, programs: &Programs) -> Result<()> {
    programs.spawn(
        "controller-manager",
        &state.kube,
        &config::manager_arguments(home),
    )?;
    programs.spawn("scheduler", &state.kube, &config::scheduler_arguments(home))?;
    image::import(home).await?;
    programs.spawn("kubelet", &state.kube, &config::kubelet_arguments(home))?;
    programs.spawn("proxy", &state.kube, &config::proxy_arguments(home))?;
    programs.spawn("dns", &state.dns, &config::dns_arguments(home))?;
    let nodes: Api<Node> = Api::all(crate::lab::admin_client(home).await?);
    let ready = eventually("the node to be ready", Duration::from_secs(90), async || {
        let node = nodes.get_opt(NODE).await?;
        Ok(node.is_some_and(|node| is_ready(&node)).then_some(()))
    });
    ready.await
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    // A new node's taint is lifted a moment after it is ready; until then nothing is scheduled.
    ready
        && node
            .spec
            .as_ref()
            .is_none_or(|spec| spec.taints.as_deref().unwrap_or_default().is_empty())
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path)
        .body(Vec::new())
        .context("cannot make a request")
}
