//! The worker: one event after another, whatever namespace it is of, and each one whole.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Client, Config};
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::decide::{Verdict, verdict};
use super::inform::{inform, select_namespaces};
use super::mark::{Purpose, mark};
use super::record::Recorder;
use super::subject::{Resource, Subject, Watched};
use super::workload::{Clients, KINDS, Kind, Workload};
use super::{Exit, Program, pause};

/// The pause before the first of the attempts, which doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const RETRIES: u32 = 5;

/// What happened to an object.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Created(Subject),
    Updated { old: String, new: Subject },
    Deleted(Subject),
}

/// Something in the queue.
pub(super) struct Task {
    pub(super) happening: Happening,
    pub(super) attempt: u32,
}

/// Why an event was not handled to its end.
pub(super) enum Failure {
    /// It is tried again.
    Handler(String),
    /// The program ends.
    Exit(Exit),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Handler(error.to_string())
    }
}

/// Watches and works until the program ends by itself.
pub(super) async fn everything(program: &Arc<Program>) -> Exit {
    let mut parts = JoinSet::new();
    let selecting = !program.flags.namespace_selector.is_empty();
    if selecting {
        let program = Arc::clone(program);
        parts.spawn(async move {
            select_namespaces(program).await;
            Exit::refusing("the namespaces are not watched any more")
        });
    }
    for scope in program.scopes() {
        if !program.flags.ignores(Resource::Secret.plural()) {
            parts.spawn(controller::<Secret>(Arc::clone(program), scope.clone()));
        }
        if !program.flags.ignores(Resource::ConfigMap.plural()) {
            parts.spawn(controller::<ConfigMap>(Arc::clone(program), scope));
        }
    }
    match parts.join_next().await {
        Some(Ok(exit)) => exit,
        Some(Err(error)) => Exit::panicking(&error.to_string()),
        None => Exit::refusing("there is nothing to watch"),
    }
}

/// The informer, the worker and the recorder of one kind.
async fn controller<K: Watched>(program: Arc<Program>, scope: Option<String>) -> Exit {
    let (queue, tasks) = mpsc::unbounded_channel();
    let (recorder, recording) = Recorder::new(&program, K::RESOURCE);
    tokio::select! {
        exit = worker(&program, &queue, tasks, &recorder) => exit,
        () = inform::<K>(Arc::clone(&program), scope, queue.clone()) => Exit::refusing("nothing is watched any more"),
        () = recording => Exit::refusing("nothing is recorded any more"),
    }
}

async fn worker(
    program: &Arc<Program>,
    queue: &UnboundedSender<Task>,
    mut tasks: UnboundedReceiver<Task>,
    recorder: &Recorder,
) -> Exit {
    let mut waiting = JoinSet::new();
    while let Some(task) = tasks.recv().await {
        program.pass().await;
        match handle(program, &task.happening, recorder).await {
            Ok(()) => {}
            Err(Failure::Exit(exit)) => return exit,
            Err(Failure::Handler(why)) if task.attempt < RETRIES => {
                program.log.say(&format!("to be tried again: {why}"));
                let queue = queue.clone();
                waiting.spawn(async move {
                    tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(task.attempt)).await;
                    // When the worker is gone, nobody tries again.
                    let _ = queue.send(Task {
                        attempt: task.attempt + 1,
                        ..task
                    });
                });
            }
            Err(Failure::Handler(why)) => program.log.say(&format!("dropped: {why}")),
        }
    }
    Exit::refusing("the queue is closed")
}

async fn handle(program: &Arc<Program>, happening: &Happening, recorder: &Recorder) -> Result<(), Failure> {
    let (subject, purpose) = match happening {
        Happening::Updated { old, new } if *old == new.hash => return Ok(()),
        Happening::Created(subject) | Happening::Updated { new: subject, .. } => (subject, Purpose::Reload),
        Happening::Deleted(subject) => (subject, Purpose::Forget),
    };
    if !program.flags.webhook_url.is_empty() {
        return call_webhook(&program.flags.webhook_url).await;
    }
    let mut clients = Clients::new(program);
    for kind in KINDS {
        // A text, and not a switch: `1` is not enough.
        if *kind == Kind::Rollout && program.flags.is_argo_rollouts != "true" {
            continue;
        }
        // A list that is refused counts as an empty one, and the event as handled.
        let workloads = match clients.list(*kind, &subject.namespace).await {
            Ok(workloads) => workloads,
            Err(error) => {
                program.log.say(&format!("cannot list {}: {error}", kind.name()));
                continue;
            }
        };
        for workload in workloads {
            // The first one that fails keeps all later ones from being reached.
            reload(program, &mut clients, recorder, &workload, subject, purpose).await?;
        }
    }
    Ok(())
}

async fn reload(
    program: &Arc<Program>,
    clients: &mut Clients,
    recorder: &Recorder,
    workload: &Workload,
    subject: &Subject,
    purpose: Purpose,
) -> Result<(), Failure> {
    let kind = workload.kind.name();
    let verdict = verdict(
        &program.flags,
        kind,
        subject,
        &workload.annotations(),
        &workload.template_annotations(),
    );
    let must_refer = match verdict.map_err(Failure::Exit)? {
        Verdict::No => return Ok(()),
        Verdict::Named => false,
        Verdict::IfReferred => true,
    };
    let Some(mark) = mark(program.strategy, workload, subject, purpose, must_refer) else {
        return Ok(());
    };
    let mut paused = None;
    if workload.kind == Kind::Deployment {
        paused = pause::pause(program, clients, workload).await?;
    } else if workload
        .annotations()
        .contains_key(&program.flags.pause_deployment_annotation)
    {
        program.log.say(&format!(
            "only a Deployment can be paused, not {kind} {}",
            workload.name()
        ));
    }
    let written = clients.write(workload, &mark).await;
    if let Some(length) = paused {
        program.timers.start(workload, length);
    }
    recorder.record(workload, subject, written.as_ref().err());
    written.map_err(Failure::from)
}

/// Says that something was updated, but not what.
async fn call_webhook(url: &str) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Handler(format!("webhook: {error}"));
    let uri: http::Uri = url.parse().map_err(|error| failed(&error))?;
    let path = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    let server = http::Uri::from_parts(parts).map_err(|error| failed(&error))?;
    let client = Client::try_from(Config::new(server)).map_err(|error| failed(&error))?;
    let request = http::Request::post(path.as_str())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(json!({"webhook": "update successful"}).to_string().into_bytes());
    let request = request.map_err(|error| failed(&error))?;
    client
        .request_text(request)
        .await
        .map_err(|error| failed(&error))?;
    Ok(())
}
