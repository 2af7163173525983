//! When to rotate: pure arithmetic on time that is given, never read.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Invalid;

/// Without a window, a due time that nobody acted on for this long has been missed.
const ON_TIME: SignedDuration = SignedDuration::from_mins(10);

/// A schedule whose every time can be told.
#[derive(Clone, Debug)]
pub struct Schedule {
    times: Times,
    window: Option<SignedDuration>,
    /// This policy's own part of the jitter, fixed by its uid.
    offset: SignedDuration,
    skip_missed: bool,
    text: String,
}

#[derive(Clone, Debug)]
enum Times {
    Cron(Box<Cron>, TimeZone),
    Every(SignedDuration),
}

/// What the schedule says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing until then.
    Later(Timestamp),
    /// A rotation is due since this time.
    Now(Timestamp),
    /// One or more times were missed, the last of them at this time, and one rotation makes up for them.
    Missed(Timestamp),
}

impl Schedule {
    /// The times at which a cron pattern fires in a time zone.
    ///
    /// # Errors
    /// Refuses patterns that cannot be read or never fire, and unknown zones.
    pub fn cron(pattern: &str, zone: &str) -> Result<Self, Invalid> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(pattern).map_err(|e| {
            Invalid::new(
                "schedule.cron",
                format!("{pattern:?} is no cron pattern of five fields: {e}"),
            )
        })?;
        let zone_data = TimeZone::get(zone).map_err(|_| {
            Invalid::new(
                "schedule.timeZone",
                format!("{zone:?} is no IANA time zone, such as Europe/Berlin"),
            )
        })?;
        let times = Times::Cron(Box::new(cron), zone_data);
        // A fixed start keeps parsing free of the clock; the pattern repeats within the search limit or never.
        if times.after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(Invalid::new("schedule.cron", format!("{pattern:?} never fires")));
        }
        Ok(Self {
            times,
            window: None,
            offset: SignedDuration::ZERO,
            skip_missed: false,
            text: format!("{pattern} {zone}"),
        })
    }

    /// An interval after the start of the last rotation.
    ///
    /// # Errors
    /// Refuses intervals shorter than a minute.
    pub fn every(interval: SignedDuration) -> Result<Self, Invalid> {
        if interval < SignedDuration::from_mins(1) {
            return Err(Invalid::new(
                "schedule.every",
                "an interval is at least one minute long",
            ));
        }
        Ok(Self {
            times: Times::Every(interval),
            window: None,
            offset: SignedDuration::ZERO,
            skip_missed: false,
            text: format!("every {interval}"),
        })
    }

    /// Adds the window, the jitter and what a missed time means. The part of the jitter that a policy waits depends
    /// on its uid alone: the same after every restart, different between policies.
    #[must_use]
    pub fn with(
        mut self,
        window: Option<SignedDuration>,
        jitter: SignedDuration,
        skip_missed: bool,
        uid: &str,
    ) -> Self {
        // A uid is random already: its last digits are as good as a hash, and the same in every release.
        let digits = uid
            .rsplit('-')
            .next()
            .and_then(|part| u64::from_str_radix(part, 16).ok())
            .unwrap_or(0);
        let range = u64::try_from(jitter.as_millis()).unwrap_or(0).saturating_add(1);
        let part = i64::try_from(digits % range).unwrap_or(0);
        self.window = window;
        self.offset = SignedDuration::from_millis(part);
        self.skip_missed = skip_missed;
        self
    }

    /// The times themselves, as text: when it changes, the schedule is another one and starts afresh.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first time after `since`.
    #[must_use]
    pub fn next_after(&self, since: Timestamp) -> Option<Timestamp> {
        let bare = match self.times {
            Times::Cron(..) => since.checked_sub(self.offset).ok()?,
            // Counted from the last rotation; to take the part off first would undo it.
            Times::Every(_) => since,
        };
        self.times.after(bare)?.checked_add(self.offset).ok()
    }

    /// What is due now, when the times up to `since` have been dealt with.
    #[must_use]
    pub fn due(&self, since: Timestamp, now: Timestamp) -> Due {
        let Some(first) = self.next_after(since) else {
            return Due::Later(Timestamp::MAX);
        };
        if first > now {
            return Due::Later(first);
        }
        // Any number of missed times is one: the last of them.
        let last = match &self.times {
            Times::Cron(..) => self.times.until(now, self.offset).unwrap_or(first).max(first),
            Times::Every(interval) => last_of(first, *interval, now),
        };
        let late = now.duration_since(last);
        if late <= self.window.unwrap_or(ON_TIME) {
            return Due::Now(last);
        }
        // With a window, what was missed can be made up for only in the next window, and that is the next due time.
        if self.skip_missed || self.window.is_some() {
            let next = match &self.times {
                Times::Cron(..) => self.next_after(now),
                // Counted from `now` it would move on with every look, and never come.
                Times::Every(interval) => last.checked_add(*interval).ok(),
            };
            return Due::Later(next.unwrap_or(Timestamp::MAX));
        }
        Due::Missed(last)
    }

    /// The next moment from `now` on at which side effects that touch applications may start; `now` itself inside a
    /// window, or where there is none.
    #[must_use]
    pub fn opens(&self, now: Timestamp) -> Timestamp {
        let Some(window) = self.window else { return now };
        let last = self.times.until(now, self.offset);
        if last.is_some_and(|last| now.duration_since(last) <= window) {
            return now;
        }
        self.next_after(now).unwrap_or(Timestamp::MAX)
    }
}

/// The last time not after `now` of an interval that came first at `first`.
fn last_of(first: Timestamp, interval: SignedDuration, now: Timestamp) -> Timestamp {
    let since_last = now.duration_since(first).as_nanos() % interval.as_nanos().max(1);
    now.checked_sub(SignedDuration::from_nanos_i128(since_last))
        .map_or(first, |last| last.max(first))
}

impl Times {
    fn after(&self, since: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(interval) => since.checked_add(*interval).ok(),
            Self::Cron(cron, zone) => {
                let next = cron
                    .find_next_occurrence(&since.to_zoned(zone.clone()), false)
                    .ok()?
                    .timestamp();
                // The same wall clock comes twice when clocks go back: a time is never its own successor.
                (next > since).then_some(next)
            }
        }
    }

    /// The last time not after `now`, each being late by `offset`. An interval has no times of its own.
    fn until(&self, now: Timestamp, offset: SignedDuration) -> Option<Timestamp> {
        let Self::Cron(cron, zone) = self else { return None };
        let bare = now.checked_sub(offset).ok()?.to_zoned(zone.clone());
        cron.find_previous_occurrence(&bare, true)
            .ok()?
            .timestamp()
            .checked_add(offset)
            .ok()
    }
}
