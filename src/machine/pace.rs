//! How long to wait before looking again.

use jiff::{SignedDuration, Timestamp};

/// How soon a state that only a person can mend is looked at again; an edit of the policy wakes it at once.
pub(super) const SLOW: SignedDuration = SignedDuration::from_mins(1);
/// How soon a request to sync that was not answered is made again, the first time; then twice as long each time.
const SYNC: SignedDuration = SignedDuration::from_secs(5);
/// And at most.
const SYNC_MAX: SignedDuration = SignedDuration::from_secs(30);
/// How long after a move a store may show its readers what was current before. It takes well under a second.
pub(super) const SETTLES: SignedDuration = SignedDuration::from_secs(2);

/// How long Reloader is given at the least.
const RELOADER: SignedDuration = SignedDuration::from_secs(10);
/// And for each of its writes: twice what it takes.
const RELOADER_WRITE: SignedDuration = SignedDuration::from_millis(400);

/// How soon a pooler is told again to read its list. The Secret comes to where it is mounted within some minute.
pub(super) const RELOADS: SignedDuration = SignedDuration::from_secs(2);

/// How long a replica, or a pooler's list, may take before somebody should look.
const REPLAY: SignedDuration = SignedDuration::from_mins(10);

/// Whether a replica, or a pooler's list, takes too long.
pub(super) fn late(elapsed: SignedDuration) -> bool {
    elapsed > REPLAY
}

/// The longer it has taken, the longer.
pub(super) fn pace(elapsed: SignedDuration) -> SignedDuration {
    if elapsed < SignedDuration::from_mins(1) {
        SignedDuration::from_millis(500)
    } else if elapsed < SignedDuration::from_mins(10) {
        SignedDuration::from_secs(5)
    } else {
        SignedDuration::from_secs(30)
    }
}

/// At least four polls in the quiet time, and never a longer gap than a quarter of a minute: what comes and goes
/// between two polls is not seen.
#[must_use]
pub fn poll_interval(quiet_for: SignedDuration) -> SignedDuration {
    (quiet_for / 4).clamp(SignedDuration::from_millis(250), SignedDuration::from_secs(15))
}

/// How long the operator is given before it is asked again. Its own back-off grows to minutes, and a new request cuts
/// it short (external-secrets-observed 51, 52).
pub(super) fn patience(times: u32) -> SignedDuration {
    let doublings = times.saturating_sub(1).min(8);
    (SYNC * 2_i32.pow(doublings)).min(SYNC_MAX)
}

/// How soon to look whether it has done what it was asked: it takes some 50 ms when all is well.
pub(super) fn sync_poll(since_asked: SignedDuration, since_start: SignedDuration) -> SignedDuration {
    if since_asked < SignedDuration::from_secs(2) {
        SignedDuration::from_millis(100)
    } else {
        pace(since_start)
    }
}

/// How long Reloader is given to restart so many consumers before Tandem does it in its stead. It begins within 20 ms,
/// and writes five times in a second; what else it has to do at the time is not known (reloader-observed 100, 101).
pub(super) fn grace(left: usize) -> SignedDuration {
    let writes = i32::try_from(left).unwrap_or(i32::MAX);
    RELOADER.saturating_add(RELOADER_WRITE * writes)
}

/// The end of time, where there is no later one.
pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
