//! A Reloader that calls a webhook, and then does nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use tandem_lab::{Lab, ReloaderOptions, run};
use tokio::net::TcpListener;

use crate::corner::Corner;
use crate::given::deployment;
use crate::promptly::promptly;

const SOON: Duration = Duration::from_secs(20);
const CALL: &str = r#"{"webhook":"update successful"}"#;

/// What was posted, and whether that is taken.
#[derive(Clone, Default)]
struct Hook {
    posted: Arc<Mutex<Vec<String>>>,
    refuses: bool,
}

impl Hook {
    async fn listen(&self) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/hook", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(format!("--webhook-url=http://{address}/hook"))
    }

    fn posted(&self) -> Vec<String> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn until_posted(&self, times: usize) -> Result<()> {
        let posted = promptly(format!("{times} posts"), SOON, async || {
            let posted = self.posted();
            ensure!(posted.len() >= times, "{posted:?}");
            Ok(Some(()))
        });
        posted.await
    }
}

async fn take(State(hook): State<Hook>, body: String) -> StatusCode {
    hook.posted
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(body);
    if hook.refuses {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    }
}

#[test]
fn case142_to_144_a_webhook_is_called_for_every_change_and_nothing_is_reloaded() {
    run(|lab: Lab| async move {
        // Nobody asks for anything.
        let (corner, hook) = (Corner::with(&lab, deployment("web")).await?, Hook::default());
        let url = hook.listen().await?;
        let mut reloader = corner
            .namespace
            .reloader(ReloaderOptions::default().bare())
            .await?;
        reloader.kill().await?;
        // It publishes other options than before, and that is a change too.
        let options = ReloaderOptions::default().arg(&url).bare();
        drop(reloader);
        let _reloader = corner.namespace.reloader(options).await?;
        corner.change("p1").await?;
        hook.until_posted(1).await?;
        corner.change("p2").await?;
        hook.until_posted(2).await?;
        assert!(
            hook.posted().iter().all(|body| body == CALL),
            "{:?}",
            hook.posted()
        );
        assert!(hook.posted().len() <= 3, "{:?}", hook.posted());
        assert_eq!(corner.writes().await?, 0);
        Ok(())
    });
}

#[test]
fn case145_a_webhook_that_fails_is_called_six_times() {
    run(|lab: Lab| async move {
        let (corner, hook) = (
            Corner::new(&lab).await?,
            Hook {
                refuses: true,
                ..Hook::default()
            },
        );
        let url = hook.listen().await?;
        let options = ReloaderOptions::default().arg(&url).bare();
        let _reloader = corner.namespace.reloader(options).await?;
        corner.change("p1").await?;
        hook.until_posted(6).await?;
        // All retries take a fraction of this.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(hook.posted().len(), 6);
        assert_eq!(corner.writes().await?, 0);
        Ok(())
    });
}
