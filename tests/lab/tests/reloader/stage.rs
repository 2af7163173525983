//! A namespace with a Reloader, in which the lines of the contract are played one after another.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tandem_lab::{Lab, Namespace, Reloader, ReloaderOptions};

use crate::contract::{Line, Step};
use crate::given::{LAST, NAMED, deployment, hash, merge, secret_of};
use crate::observe::{KINDS, Observer, api, event_count, events};
use crate::promptly::promptly;

/// The workload and the Secret that show how far Reloader is. It is the first of the first kind, so nothing of a later
/// event comes before it, and nothing of an earlier one after it.
const FENCE: &str = "a-fence";
const SOON: Duration = Duration::from_secs(20);
/// As long as something is waited for that is to happen, before it is said that it did not.
const PATIENCE: Duration = Duration::from_secs(8);

pub(crate) struct Stage {
    pub(crate) namespace: Namespace,
    pub(crate) reloader: Reloader,
    observer: Observer,
    fences: u32,
    /// What the fence's objects need besides, so that this Reloader handles them.
    fence: Fence,
    /// Whether Reloader does something about what is created and deleted.
    careful: bool,
}

/// What the fence needs besides its annotation.
#[derive(Clone, Default)]
pub(crate) struct Fence {
    pub(crate) annotations: Value,
    pub(crate) labels: Value,
}

impl Stage {
    pub(crate) async fn new(lab: &Lab, options: ReloaderOptions, fence: Fence) -> Result<Self> {
        let namespace = lab.namespace("reloader").await?;
        let careful = format!("{options:?}").contains("--reload-on-");
        let reloader = namespace.reloader(options.bare()).await?;
        Ok(Self {
            observer: Observer::start(&namespace).await?,
            namespace,
            reloader,
            fences: 0,
            fence,
            careful,
        })
    }

    /// Plays a line, and says what was seen.
    pub(crate) async fn play(&mut self, line: &Line) -> Result<Vec<String>> {
        let seen = self.act(line).await;
        // The next line begins with nothing, whatever became of this one.
        self.clean().await?;
        if self.reloader.exit()?.is_some() {
            self.reloader.start().await?;
        }
        seen
    }

    async fn act(&mut self, line: &Line) -> Result<Vec<String>> {
        self.set(line).await?;
        let start = Instant::now();
        for step in line.steps() {
            self.take(step).await.with_context(|| format!("{step:?}"))?;
        }
        let waited = promptly("what is expected", PATIENCE, async || {
            Ok((self.seen().await? == line.expected()).then_some(()))
        });
        // What was seen instead is what the caller compares.
        let _ = waited.await;
        let took = start.elapsed();
        ensure!(took >= line.least(), "it took only {took:?}");
        if let Some(code) = line.exit() {
            let ended = promptly("Reloader to end", SOON, async || self.reloader.exit());
            let ended = ended.await?;
            ensure!(ended == code, "it ended with {ended}");
        } else if line.is_fenced() {
            self.settle().await?;
        }
        self.seen().await
    }

    async fn seen(&self) -> Result<Vec<String>> {
        let mut seen = self.observer.changes(FENCE);
        seen.extend(events(&self.namespace, FENCE).await?);
        // Who wants every Secret gets the fence's too, sooner or later.
        seen.retain(|change| !change.contains("STAKATER_A_FENCE_") && !change.contains(FENCE));
        Ok(seen)
    }

    async fn set(&mut self, line: &Line) -> Result<()> {
        let mut fence = deployment(FENCE).on(NAMED, FENCE).object();
        if self.fence.annotations.is_object() {
            merge(
                &mut fence["metadata"]["annotations"],
                self.fence.annotations.clone(),
            );
        }
        let mut secret = secret_of(FENCE, json!({"n": "0"}));
        if self.fence.labels.is_object() {
            secret["metadata"]["labels"] = self.fence.labels.clone();
        }
        self.create(&secret).await?;
        self.create(&fence).await?;
        for object in line.sources() {
            self.create(object).await?;
        }
        if self.careful {
            self.settle().await?;
        }
        for object in line.workloads() {
            self.create(object).await?;
        }
        Ok(())
    }

    async fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Data(name, data) => {
                let content = json!({"data": null, "stringData": data});
                self.patch("Secret", name, content).await
            }
            Step::Change(kind, name, change) => self.patch(kind, name, change.clone()).await,
            Step::As(manager, kind, name, change) => self.patch_as(manager, kind, name, change).await,
            Step::Mark(manager, name, hash) => {
                let (namespace, now) = (self.namespace.name(), Timestamp::now().as_second());
                let mark = format!(
                    r#"{{"type":"SECRET","name":"db","namespace":"{namespace}","hash":"{hash}","containerRefs":["app"],"observedAt":{now}}}"#
                );
                let template = json!({"metadata": {"annotations": {(LAST): mark}}});
                let change = json!({"spec": {"template": template}});
                self.patch_as(manager, "Deployment", name, &change).await
            }
            Step::Apply(manager, object) => {
                let params = PatchParams::apply(manager).force();
                let (kind, name) = kind_and_name(object)?;
                self.api(kind).patch(name, &params, &Patch::Apply(object)).await?;
                Ok(())
            }
            Step::Replace(object) => {
                let (kind, name) = kind_and_name(object)?;
                let object: DynamicObject = serde_json::from_value(object.clone())?;
                self.api(kind)
                    .replace(name, &PostParams::default(), &object)
                    .await?;
                Ok(())
            }
            Step::Create(object) => self.create(object).await,
            Step::Delete(kind, name) => {
                self.api(kind).delete(name, &DeleteParams::background()).await?;
                Ok(())
            }
            Step::Settle => self.settle().await,
            Step::Until(start) => {
                let there = promptly(format!("«{start}»"), SOON, async || {
                    let seen = self.seen().await?;
                    ensure!(seen.iter().any(|line| line.starts_with(start)), "{seen:?}");
                    Ok(Some(()))
                });
                there.await
            }
            Step::Pass(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
            Step::Freeze => self.reloader.freeze(),
            Step::Thaw => self.reloader.thaw(),
            Step::CutOff => {
                self.reloader.cut_off();
                Ok(())
            }
            Step::Reconnect => {
                self.reloader.reconnect();
                Ok(())
            }
            Step::Kill => self.reloader.kill().await,
            Step::Start => self.reloader.start().await,
        }
    }

    /// Changes the fence, and waits until that is handled: then everything before it is.
    async fn settle(&mut self) -> Result<()> {
        self.fences += 1;
        let number = self.fences.to_string();
        let hash = hash(&format!("n={number}"));
        let before = event_count(&self.namespace, FENCE).await?;
        self.patch("Secret", FENCE, json!({"stringData": {"n": number}}))
            .await?;
        let handled = promptly("the fence", SOON, async || {
            let changes = self.observer.changes_of(FENCE);
            let there = changes.iter().any(|change| change.contains(&hash));
            ensure!(there, "its changes are {changes:?}; {}", self.reloader.logs()?);
            let events = event_count(&self.namespace, FENCE).await?;
            ensure!(events > before, "there is no event of it");
            Ok(Some(()))
        });
        handled.await
    }

    /// Deletes everything, and waits until the watches have seen the end of it.
    async fn clean(&mut self) -> Result<()> {
        let everything = ListParams::default();
        if self.careful {
            self.delete_sources(&everything.clone().fields(&format!("metadata.name!={FENCE}")))
                .await?;
            self.settle().await?;
        }
        let mut gone = Vec::new();
        for (group, kind) in KINDS {
            let api = api(&self.namespace, group, kind);
            for object in api.list(&everything).await?.items {
                let name = object.metadata.name.unwrap_or_default();
                match api.delete(&name, &DeleteParams::background()).await {
                    Ok(_) => {}
                    // A Job goes with its CronJob.
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    Err(error) => return Err(error).with_context(|| format!("cannot delete {name}")),
                }
                gone.extend(object.metadata.uid);
            }
        }
        self.delete_sources(&everything).await?;
        let api: Api<Event> = self.namespace.api();
        api.delete_collection(&DeleteParams::default(), &everything)
            .await?;
        let over = promptly("the end of the line's workloads", SOON, async || {
            let seen = gone.iter().all(|id| self.observer.saw_the_end_of(id));
            Ok(seen.then_some(()))
        });
        over.await?;
        self.observer.forget();
        Ok(())
    }

    async fn delete_sources(&self, which: &ListParams) -> Result<()> {
        let secrets: Api<Secret> = self.namespace.api();
        secrets.delete_collection(&DeleteParams::default(), which).await?;
        let maps: Api<ConfigMap> = self.namespace.api();
        let ours = which.clone().labels("contract");
        maps.delete_collection(&DeleteParams::default(), &ours).await?;
        Ok(())
    }

    async fn create(&self, object: &Value) -> Result<()> {
        let (kind, _) = kind_and_name(object)?;
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let created = self.api(kind).create(&PostParams::default(), &object).await;
        created.with_context(|| format!("cannot create the {kind}"))?;
        Ok(())
    }

    async fn patch(&self, kind: &str, name: &str, change: Value) -> Result<()> {
        let params = PatchParams::default();
        self.api(kind).patch(name, &params, &Patch::Merge(change)).await?;
        Ok(())
    }

    async fn patch_as(&self, manager: &str, kind: &str, name: &str, change: &Value) -> Result<()> {
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        self.api(kind)
            .patch(name, &params, &Patch::Strategic(change))
            .await?;
        Ok(())
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let group = KINDS.iter().find(|(_, known)| *known == kind);
        api(&self.namespace, group.map_or("", |(group, _)| group), kind)
    }
}

fn kind_and_name(object: &Value) -> Result<(&str, &str)> {
    let kind = object["kind"].as_str().context("an object without a kind")?;
    let name = object["metadata"]["name"].as_str();
    Ok((kind, name.context("an object without a name")?))
}
