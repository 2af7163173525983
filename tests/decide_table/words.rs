//! What people are told, where the wording depends on what was seen.

use tandem::api::spec::TargetKind;
use tandem::machine::facts::Laggard;
use tandem::machine::place::{Shared, Taken};
use tandem::machine::step::Waiting;
use tandem::machine::words::words;
use tandem::policy::target::{ConsumerKind, ConsumerRef};

use crate::fixtures::*;

fn says(why: &Waiting, parts: &[&str]) {
    let said = words(&policy(), why).message;
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn fm41_sessions_that_may_not_be_seen_are_told_with_their_number() {
    let laggard = |application: &str, address: &str, count| Laggard {
        endpoint: None,
        application_name: application.to_owned(),
        client_address: address.to_owned(),
        pod: String::new(),
        count,
    };
    let why = Waiting::Sessions {
        laggards: vec![laggard("", "", 3), laggard("", "10.0.0.7", 2)],
        overdue: false,
    };
    let hidden = "3 of which the administrator may see no more (the Preflight condition has the GRANT)";
    says(&why, &[hidden, "2 of (no application name) from 10.0.0.7"]);
}

#[test]
fn each_kind_of_workload_is_restarted_by_hand_with_a_command_that_knows_it() {
    let consumer = |kind, name: &str| ConsumerRef {
        kind: ConsumerKind::Workload(kind),
        name: name.to_owned(),
    };
    let why = Waiting::Reloader {
        left: vec![
            consumer(TargetKind::Rollout, "canary"),
            consumer(TargetKind::Deployment, "web"),
            consumer(TargetKind::DaemonSet, "agent"),
        ],
        until: None,
        overdue: false,
    };
    let namespace = policy().namespace;
    let plain = format!("kubectl -n {namespace} rollout restart deployment/web daemonset/agent; ");
    let patch = format!("kubectl -n {namespace} patch rollout canary --type merge");
    says(&why, &[&plain, &patch]);
}

#[test]
fn fm49_who_waits_for_its_place_is_told_for_whom_and_how_to_see_them() {
    let taken = |shared, holders: &[&str], ahead| {
        Waiting::Place(Taken {
            shared,
            most: 2,
            holders: holders.iter().map(ToString::to_string).collect(),
            ahead,
        })
    };
    let namespace = policy().namespace;
    let see = format!("kubectl get rotpol -n {namespace}");
    let here = format!("in namespace {namespace}, and these are: shop/a, shop/b");
    says(
        &taken(Shared::Namespace, &["shop/a", "shop/b"], 0),
        &[&here, "it is the next", &see, "--max-rotations-per-namespace"],
    );
    let server = format!("at server {}:{}", policy().database.host, policy().database.port);
    says(
        &taken(Shared::Server, &["shop/a", "hr/c"], 4),
        &[
            &server,
            "4 that wait come first",
            "kubectl get rotpol -A",
            "--max-rotations-per-server",
        ],
    );
}
