//! Whether the credential that applications are told logs in, and no other does: the condition `CredentialsInSync`.

use super::drift::drift;
use super::drift_words::drift_words;
use super::facts::{Facts, Finding, KeptSeen, Login, Previous, SecretSeen};
use super::journal::Journal;
use super::project::ACTIVE_LOGIN_FAILED;
use super::words::Words;
use crate::policy::Policy;

const ACTIVE: &str = "the credential in the application Secret logs in";
const BOTH: &str =
    "the credential in the application Secret logs in, and the one that was retired is refused";

/// What this pass has seen of it; nothing when it has not looked.
pub(super) fn in_sync(
    policy: &Policy,
    held: Option<&Journal>,
    facts: &Facts,
) -> Option<Result<&'static str, (&'static str, String)>> {
    if let Some(drift) = held.and_then(|journal| drift(policy, journal, facts)) {
        let Words { reason, message, .. } = drift_words(policy, &drift);
        return Some(Err((reason, message)));
    }
    if let Some(KeptSeen {
        active: Some(Login::Accepted(_)),
        retired,
        ..
    }) = &facts.kept
    {
        return match retired {
            Previous::Refused => Some(Ok(BOTH)),
            Previous::Unknown => Some(Ok(ACTIVE)),
            Previous::Accepted | Previous::Unreachable(_) => None,
        };
    }
    let delivered = matches!(
        facts.secret,
        Some(SecretSeen::Present {
            carries_pending: true,
            ..
        })
    );
    match (&facts.pending, &facts.preflight) {
        (Some(Login::Accepted(_)), _) if delivered => Some(Ok(ACTIVE)),
        (Some(Login::WrongPassword), _) if delivered => Some(Err((
            ACTIVE_LOGIN_FAILED,
            "the server refuses the password in the application Secret".to_owned(),
        ))),
        (Some(Login::Refused(finding)), _) if delivered => {
            Some(Err((finding.reason, finding.message.clone())))
        }
        (_, Some(preflight)) => {
            let failed = |finding: &&Finding| finding.reason == ACTIVE_LOGIN_FAILED;
            match preflight.findings.iter().find(failed) {
                Some(finding) => Some(Err((finding.reason, finding.message.clone()))),
                None => preflight.passed().then_some(Ok(ACTIVE)),
            }
        }
        (_, None) => None,
    }
}
