//! The way between a Reloader and the API server, which a test can cut.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use kube::config::Kubeconfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Passes on connections to the API server, until it is cut or dropped.
pub(super) struct Link {
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Link {
    /// One to the server that is in the configuration, which leads over it afterwards.
    pub(super) async fn before(kubeconfig: &mut Kubeconfig) -> Result<Self> {
        let clusters = kubeconfig.clusters.iter_mut();
        let mut servers = clusters.filter_map(|cluster| cluster.cluster.as_mut()?.server.as_mut());
        let server = servers
            .next()
            .context("there is no API server in the kubeconfig")?;
        let uri: http::Uri = server.parse().context("the API server has no address")?;
        let target = uri.authority().context("the API server has no address")?;
        let target: SocketAddr = target.as_str().parse().context("the API server has no port")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("cannot listen for Reloader")?;
        let port = listener.local_addr()?.port();
        *server = format!("https://127.0.0.1:{port}");
        let (open, is_open) = watch::channel(true);
        let task = tokio::spawn(pass_on(listener, target, is_open));
        Ok(Self { open, task })
    }

    /// Ends all connections and takes no new ones, or takes them again.
    pub(super) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(listener: TcpListener, target: SocketAddr, open: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        // A connection that broke off before it was taken is not one.
        let Ok((mut near, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let mut open = open.clone();
        if !*open.borrow() {
            continue;
        }
        connections.spawn(async move {
            let Ok(mut far) = TcpStream::connect(target).await else {
                return;
            };
            tokio::select! {
                // Either side may end it as it likes.
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = open.wait_for(|open| !open) => {}
            }
        });
    }
}
