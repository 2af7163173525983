//! The scenes in which the lines are played: each is a Reloader with its flags, in a namespace of its own.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::json;
use tandem_lab::{Lab, ReloaderOptions, run};

use super::{Line, annotations, errors, flags, kinds, references, sequences, starts, strategy};
use crate::stage::{Fence, Stage};

const SYNC: &str = "--sync-after-restart";
const ON_CREATE: &str = "--reload-on-create=true";
const ON_DELETE: &str = "--reload-on-delete=true";
const ANNOTATIONS: &str = "--reload-strategy=annotations";
const ONLY_SECRETS: &str = "--resources-to-ignore=configmaps";

struct Scene {
    options: ReloaderOptions,
    fence: Fence,
    lines: Vec<Line>,
}

/// With these arguments.
fn scene(arguments: &[&str], lines: Vec<Line>) -> Scene {
    let options = ReloaderOptions::default();
    Scene {
        options: arguments
            .iter()
            .fold(options, |options, argument| options.arg(argument)),
        fence: Fence::default(),
        lines,
    }
}

impl Scene {
    fn withholding(self, resource: &str) -> Self {
        Self {
            options: self.options.withholding(resource),
            ..self
        }
    }

    fn fenced_by(self, fence: Fence) -> Self {
        Self { fence, ..self }
    }
}

fn usual() -> [Scene; 5] {
    [
        references::lines(),
        annotations::lines(),
        kinds::lines(),
        sequences::lines(),
        errors::lines(),
    ]
    .map(|lines| scene(&[], lines))
}

fn rights() -> [Scene; 3] {
    [
        scene(&[], errors::without_deployments()).withholding("deployments"),
        scene(&[], errors::without_batch())
            .withholding("jobs")
            .withholding("cronjobs"),
        scene(&[], errors::without_secrets()).withholding("secrets"),
    ]
}

fn down() -> [Scene; 4] {
    [
        scene(&[], starts::down()),
        scene(&[SYNC], starts::down_with_sync()),
        scene(&[ON_CREATE], starts::creation()),
        scene(&[ON_CREATE, SYNC], starts::both()),
    ]
}

fn creation() -> [Scene; 4] {
    [
        scene(&["--reload-on-create=1"], starts::no_creation()),
        scene(&[ON_DELETE], starts::deletion()),
        scene(&[ON_CREATE, ONLY_SECRETS], starts::creation_of_secrets_only()),
        scene(
            &[ON_CREATE, ONLY_SECRETS, SYNC],
            starts::creation_of_secrets_only_with_sync(),
        ),
    ]
}

fn flagged() -> [Scene; 4] {
    [
        scene(&["--auto-reload-all=true"], flags::everything()),
        scene(&["--resources-to-ignore=secrets"], flags::without_secrets()),
        scene(&["--ignored-workload-types=jobs"], flags::without_jobs()),
        scene(
            &["--ignored-workload-types=deployments"],
            flags::without_nothing(),
        ),
    ]
}

fn renamed() -> [Scene; 2] {
    let fence = Fence {
        annotations: json!({"x.io/reload": "a-fence"}),
        labels: json!({"reload": "yes"}),
    };
    let names = [
        "--secret-annotation=x.io/reload",
        "--auto-annotation=x.io/auto",
        "--ignore-annotation=x.io/ignore",
        "--auto-search-annotation=x.io/search",
        "--search-match-annotation=x.io/match",
    ];
    let labelled = ["--resource-label-selector=reload:yes"];
    [
        scene(&names, flags::renamed()).fenced_by(fence.clone()),
        scene(&labelled, flags::labelled()).fenced_by(fence),
    ]
}

fn annotated() -> [Scene; 2] {
    [
        scene(&[ANNOTATIONS], strategy::lines()),
        scene(
            &[ANNOTATIONS, ON_CREATE, ON_DELETE, SYNC],
            strategy::every_start(),
        ),
    ]
}

fn play(scenes: impl IntoIterator<Item = Scene>) {
    for Scene {
        options,
        fence,
        lines,
    } in scenes
    {
        run(|lab: Lab| async move {
            let mut stage = Stage::new(&lab, options, fence).await?;
            let mut different = Vec::new();
            for line in &lines {
                different.extend(differs(&mut stage, line).await);
            }
            assert!(different.is_empty(), "Reloader:\n{}", different.join("\n"));
            Ok(())
        });
    }
}

async fn differs(stage: &mut Stage, line: &Line) -> Option<String> {
    let (seen, expected): (Result<_>, _) = (stage.play(line).await, line.expected());
    let seen = match seen {
        Ok(seen) if seen == expected => return None,
        Ok(seen) => seen.join("\n      "),
        Err(error) => format!("{error:#}"),
    };
    let expected = expected.join("\n      ");
    Some(format!(
        "- {} ({}):\n   saw\n      {seen}\n   not\n      {expected}",
        line.number, line.about
    ))
}

#[test]
fn what_is_referred_to_and_where_the_mark_goes() {
    let [references, ..] = usual();
    play([references]);
}

#[test]
fn what_annotations_mean() {
    let [_, annotations, ..] = usual();
    play([annotations]);
}

#[test]
fn every_kind_of_workload() {
    let [_, _, kinds, ..] = usual();
    play([kinds]);
}

#[test]
fn changes_one_after_another_and_others_who_write() {
    let [_, _, _, sequences, _] = usual();
    play([sequences]);
}

#[test]
fn what_goes_wrong() {
    let [.., errors] = usual();
    play([errors]);
}

#[test]
fn rights_that_are_missing() {
    play(rights());
}

#[test]
fn what_changes_while_it_is_down() {
    play(down());
}

#[test]
fn what_is_created_and_deleted() {
    play(creation());
}

#[test]
fn what_flags_mean() {
    play(flagged());
}

#[test]
fn renamed_annotations_and_labelled_secrets() {
    play(renamed());
}

#[test]
fn annotations_as_marks() {
    play(annotated());
}

#[test]
fn no_number_is_there_twice_and_none_of_the_many_is_lost() {
    let scenes = usual()
        .into_iter()
        .chain(rights())
        .chain(down())
        .chain(creation());
    let scenes = scenes.chain(flagged()).chain(renamed()).chain(annotated());
    let lines: Vec<Line> = scenes.flat_map(|scene| scene.lines).collect();
    let numbers: BTreeSet<_> = lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers.len(), lines.len(), "a number is there twice");
    assert_eq!(lines.len(), 185, "a line was added or lost");
}
