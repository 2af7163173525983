//! A way to the API server that a test can cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use kube::config::Kubeconfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::lab::Lab;
use crate::node::ADDRESS;

/// Passes on connections to the API server, until it is cut or dropped.
pub struct Link {
    address: SocketAddr,
    open: watch::Sender<bool>,
    turned_away: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Lab {
    /// A way to the API server of a test's own.
    ///
    /// # Errors
    /// When there is no port for it.
    pub async fn link(&self) -> Result<Link> {
        let mut kubeconfig = Kubeconfig::read_from(self.home().kubeconfig())?;
        Link::before(&mut kubeconfig).await
    }
}

impl Link {
    /// One to the server that is in the configuration, which leads over it afterwards.
    pub(crate) async fn before(kubeconfig: &mut Kubeconfig) -> Result<Self> {
        let clusters = kubeconfig.clusters.iter_mut();
        let mut servers = clusters.filter_map(|cluster| cluster.cluster.as_mut()?.server.as_mut());
        let server = servers
            .next()
            .context("there is no API server in the kubeconfig")?;
        let uri: http::Uri = server.parse().context("the API server has no address")?;
        let target = uri.authority().context("the API server has no address")?;
        let target: SocketAddr = target.as_str().parse().context("the API server has no port")?;
        // An address that the API server's certificate has, and that pods reach.
        let listener = TcpListener::bind((ADDRESS, 0)).await;
        let listener = listener.context("cannot listen for clients of the API server")?;
        let address = listener.local_addr()?;
        *server = format!("https://{address}");
        let (open, is_open) = watch::channel(true);
        let turned_away = Arc::default();
        let task = tokio::spawn(pass_on(listener, target, is_open, Arc::clone(&turned_away)));
        Ok(Self {
            address,
            open,
            turned_away,
            task,
        })
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections and takes no new ones, or takes them again.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// How many connections were tried while it was cut.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(
    listener: TcpListener,
    target: SocketAddr,
    open: watch::Receiver<bool>,
    turned_away: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        // A connection that broke off before it was taken is not one.
        let Ok((mut near, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let mut open = open.clone();
        if !*open.borrow() {
            turned_away.fetch_add(1, Ordering::Relaxed);
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
