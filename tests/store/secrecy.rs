//! fm28: nothing of a secret is in what is logged, whatever is asked for.

use std::io::{self, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};

use tandem::telemetry::logs::{self, Format};
use tandem_lab::aws::{Action, Fault, How};
use tracing_subscriber::fmt::MakeWriter;

use crate::scene::{NAME, NEW, OLD, Scene, current, promote, propose};

/// What was written, to look at afterwards.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Paper {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// A rotation through the store with each kind of trouble. On one thread, where the subscriber is in force.
async fn everything() {
    let scene = Scene::new().await;
    let secret = scene.open();
    let base = current(&secret).await;
    let mut said = vec![format!("{secret:?} {:?}", scene.stores)];
    for how in [How::Throttle, How::ServerErrorAfter, How::Deny] {
        scene
            .aws
            .fault(NAME, Fault::once(Action::PutSecretValue, how).times(3));
        said.push(format!("{:?}", propose(&secret, &base).await));
        scene.aws.mend();
    }
    said.push(format!("{:?}", secret.findings(Some(&base)).await));
    propose(&secret, &base).await.unwrap();
    promote(&secret, &base).await.unwrap();
    said.push(scene.metrics.text());
    tracing::trace!(target: "tandem", "{said:?}");
}

/// The SDK's own switch, which makes it write down what it knows to be secret.
const SWITCH: &str = "LOG_SENSITIVE_BODIES";

/// Runs a test of this file once more in a process that has the switch on, unless this is that process.
fn switched_on(test: &str) -> bool {
    if std::env::var(SWITCH).is_ok() {
        return true;
    }
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("secrecy::{test}")])
        .env(SWITCH, "true")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && said.contains("1 passed"), "{said:?}");
    false
}

#[tokio::test]
async fn fm28_no_filter_and_no_switch_lets_the_sdk_write_down_a_secret() {
    if !switched_on("fm28_no_filter_and_no_switch_lets_the_sdk_write_down_a_secret") {
        return;
    }
    for format in [Format::Json, Format::Text] {
        let paper = Paper::default();
        let filter =
            "trace,aws_smithy_runtime=trace,aws_smithy_runtime::client::orchestrator=trace,hyper=trace";
        let subscriber = logs::subscriber(filter, format, paper.clone()).unwrap();
        let guard = tracing::subscriber::set_default(subscriber);
        everything().await;
        drop(guard);
        let text = paper.text();
        assert!(
            text.contains("StoreFailed"),
            "Tandem's own words are there: {text}"
        );
        for secret in [OLD, NEW, "aws4_request", "AKIA"] {
            assert!(!text.contains(secret), "{secret} was written: {text}");
        }
    }
}

#[tokio::test]
async fn fm28_without_that_the_sdk_would_write_it_down() {
    if !switched_on("fm28_without_that_the_sdk_would_write_it_down") {
        return;
    }
    let paper = Paper::default();
    let open = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(paper.clone())
        .finish();
    let guard = tracing::subscriber::set_default(open);
    everything().await;
    drop(guard);
    let text = paper.text();
    // Else the test above proves nothing.
    assert!(text.contains(OLD), "the SDK has become discreet: {text}");
    assert!(text.contains("app/tandem"), "its user agent names Tandem: {text}");
}
