//! What was seen and how a write ended, in words that both worlds can share: no password, no version, no time.

use tandem::effects::{Error, Fresh, Outcome, Seen};
use tandem::machine::Loaded;
use tandem::machine::endpoints::Door;
use tandem::machine::facts::{
    KeptSeen, Login, OperatorSeen, Preflight, Previous, Refused, SecretSeen, Sessions, StoreSeen,
};
use tandem::machine::project::ACTIVE_LOGIN_FAILED;

/// An error, as metrics count it.
pub(crate) fn error(error: &Error) -> String {
    format!("error: {}", error.label())
}

/// How a write ended.
pub(crate) fn outcome(outcome: &Result<Outcome, Error>) -> String {
    match outcome {
        Ok(Outcome::Done) => "done".to_owned(),
        Ok(Outcome::Refused(Refused::Password(_))) => "password refused".to_owned(),
        Ok(Outcome::Refused(Refused::Otherwise(_))) => "refused".to_owned(),
        Err(failed) => error(failed),
    }
}

/// What was loaded.
pub(crate) fn fresh(fresh: Option<&Fresh>) -> String {
    let Some(Fresh { object, journal }) = fresh else {
        return "gone".to_owned();
    };
    let mut text = match journal {
        Loaded::Absent => "no journal".to_owned(),
        Loaded::Corrupt(_) => "corrupt journal".to_owned(),
        Loaded::Valid(journal) => {
            let answered = journal
                .handled
                .as_deref()
                .map_or(String::new(), |handled| format!(", answered {handled}"));
            let rotation = journal.rotation.as_ref().map_or("idle".to_owned(), |rotation| {
                let rejected = if rotation.rejected > 0 { ", rejected" } else { "" };
                let rolled_out = rotation.rolled_out_at.map_or("", |_| ", rolled out");
                format!(
                    "{} from {} to {}{rejected}{rolled_out}",
                    rotation.trigger.as_str(),
                    rotation.retiring,
                    rotation.pending
                )
            });
            let ended = journal.history.len();
            format!(
                "journal {}{answered}, {rotation}{}",
                journal.number,
                if ended > 0 {
                    format!(", {ended} ended")
                } else {
                    String::new()
                }
            )
        }
    };
    if object.spec.suspend {
        text.push_str("; suspended");
    }
    if object.metadata.deletion_timestamp.is_some() {
        text.push_str("; deleting");
    }
    text
}

/// The answer to a question.
pub(crate) fn seen(seen: &Seen) -> String {
    match seen {
        Seen::Secret(secret) => self::secret(secret),
        Seen::Store(store) => self::store(store),
        Seen::Operator(operator) => self::operator(operator),
        Seen::Preflight(found) => preflight(found),
        Seen::Pending(Login::NotYet) => "not yet".to_owned(),
        Seen::Pending(Login::Accepted(_)) | Seen::Previous(Previous::Accepted) => "accepted".to_owned(),
        Seen::Pending(Login::WrongPassword) => "wrong password".to_owned(),
        Seen::Pending(Login::Refused(_)) | Seen::Previous(Previous::Refused) => "refused".to_owned(),
        Seen::Endpoints(endpoints) => {
            let open = endpoints.iter().filter(|endpoint| endpoint.door == Door::Open);
            format!("{} of {} open", open.count(), endpoints.len())
        }
        Seen::Lists(lists) => format!("{} lists", lists.len()),
        Seen::Previous(Previous::Unknown) => "unknown".to_owned(),
        Seen::Kept(kept) => self::kept(kept),
        // What it is differs from world to world; the table tells what is made of it.
        Seen::Room(Ok(_)) => "room is known".to_owned(),
        Seen::Place(_) => "place is known".to_owned(),
        Seen::Previous(Previous::Unreachable(_))
        | Seen::Room(Err(_))
        | Seen::Sessions(Sessions::Unreachable(_)) => "unreachable".to_owned(),
        Seen::Consumers(consumers) => {
            let mut said: Vec<_> = consumers
                .iter()
                .map(|consumer| {
                    format!(
                        "{}: {}, {} old",
                        consumer.reference.name,
                        if consumer.marked { "marked" } else { "not marked" },
                        consumer.old_pods.len()
                    )
                })
                .collect();
            said.sort();
            said.join("; ")
        }
        Seen::Sessions(Sessions::Counted { laggards, quiet }) => {
            let count: u32 = laggards.iter().map(|laggard| laggard.count).sum();
            format!("{count} left, quiet {}", quiet.map_or(0, |quiet| quiet.polls))
        }
    }
}

/// When preflight was seen is a matter of each process.
fn kept(kept: &KeptSeen) -> String {
    let active = kept
        .active
        .clone()
        .map_or("nobody".to_owned(), |login| seen(&Seen::Pending(login)));
    let retired = seen(&Seen::Previous(kept.retired.clone()));
    let server = if kept.identity.is_some() {
        ""
    } else {
        ", server unknown"
    };
    format!("active {active}, retired {retired}{server}")
}

fn secret(secret: &SecretSeen) -> String {
    let SecretSeen::Present {
        user,
        carries_pending,
        landing,
        delivered,
        version: _,
    } = secret
    else {
        return "missing".to_owned();
    };
    let mut said = vec![user.as_ref().map_or("nobody".to_owned(), ToString::to_string)];
    if *carries_pending {
        said.push("pending".to_owned());
    }
    if let Some(delivered) = delivered {
        let answers = delivered.nonce.as_ref().map(|nonce| format!(" for {nonce}"));
        said.push(format!(
            "delivered by {}{}",
            delivered.number,
            answers.unwrap_or_default()
        ));
    }
    if landing.is_some() {
        said.push("landed".to_owned());
    }
    said.join(", ")
}

fn store(store: &StoreSeen) -> String {
    let StoreSeen::Present {
        user,
        carries_pending,
        version: _,
        number,
    } = store
    else {
        return "unusable".to_owned();
    };
    let user = user.as_ref().map_or("nobody".to_owned(), ToString::to_string);
    let pending = if *carries_pending { ", pending" } else { "" };
    let made = number.map(|number| format!(", made by {number}"));
    format!("{user}{pending}{}", made.unwrap_or_default())
}

fn operator(operator: &OperatorSeen) -> String {
    match operator {
        OperatorSeen::Present { asked, .. } => {
            format!("asked {} times", asked.map_or(0, |asked| asked.times))
        }
        OperatorSeen::Unusable(_) => "unusable".to_owned(),
    }
}

fn preflight(found: &Preflight) -> String {
    let active = found
        .active
        .as_ref()
        .map_or("nobody".to_owned(), ToString::to_string);
    // Which findings there can be is a matter of each world; the machine tells two kinds from each other.
    let failed = found
        .findings
        .iter()
        .any(|finding| finding.blocks && finding.reason == ACTIVE_LOGIN_FAILED);
    let verdict = match (found.passed(), failed) {
        (true, _) => "passed",
        (false, true) => "login failed",
        (false, false) => "blocked",
    };
    let server = if found.identity.is_some() {
        ""
    } else {
        ", server unknown"
    };
    format!("{active}, {verdict}{server}")
}
