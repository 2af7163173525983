//! Time: the clocks go forward and back, times are missed, and rotations take longer than the interval.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tandem::machine::place::Place;
use tandem::machine::step::Entry;
use tandem::machine::{Action, Facts, Journal, Step, decide};
use tandem::policy::schedule::{Due, Schedule};

use crate::fixtures::*;

const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];
/// Moments in which the clocks of these zones go forward or back.
const CHANGES: [&str; 6] = [
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2027-03-14T07:00:00Z",
    "2026-11-01T06:00:00Z",
    "2026-10-03T15:30:00Z",
    "2026-04-04T15:00:00Z",
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(pattern: &str, zone: &str) -> Schedule {
    Schedule::cron(pattern, zone).unwrap()
}

/// The next times after one, as many as are expected.
fn fires(schedule: &Schedule, after: &str, expected: &[&str]) {
    let mut since = at(after);
    for time in expected {
        let next = schedule.next_after(since).unwrap();
        assert_eq!(next, at(time), "{} after {since}", schedule.text());
        since = next;
    }
}

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&ZONES[..])
}

/// Any time, and more often one near a change of the clocks.
fn times() -> impl Strategy<Value = Timestamp> {
    let near = (prop::sample::select(&CHANGES[..]), -14_400..14_400_i64);
    prop_oneof![
        3 => near.prop_map(|(change, away)| at(change) + secs(away)),
        1 => (1_577_836_800..1_893_456_000_i64).prop_map(|s| Timestamp::from_second(s).unwrap()),
    ]
}

fn patterns() -> impl Strategy<Value = String> {
    let minute = prop_oneof![
        (0..60_u8).prop_map(|m| m.to_string()),
        Just("*/15".to_owned()),
        Just("*".to_owned())
    ];
    let hour = prop_oneof![
        (0..24_u8).prop_map(|h| h.to_string()),
        Just("*/6".to_owned()),
        Just("*".to_owned())
    ];
    let day = prop_oneof![4 => Just("*".to_owned()), 1 => (1..32_u8).prop_map(|d| d.to_string())];
    let weekday = prop_oneof![4 => Just("*"), 1 => Just("SUN"), 1 => Just("1-5")];
    (minute, hour, day, weekday).prop_map(|(m, h, d, w)| format!("{m} {h} {d} * {w}"))
}

/// Every kind of schedule that a policy can have.
fn schedules() -> impl Strategy<Value = Schedule> {
    let bare = prop_oneof![
        4 => (patterns(), zones()).prop_map(|(pattern, zone)| cron(&pattern, zone)),
        1 => (1..50_000_i64).prop_map(|m| Schedule::every(mins(m)).unwrap()),
    ];
    (bare, 0..7200_i64, any::<bool>(), uids())
        .prop_map(|(schedule, jitter, skip, uid)| schedule.with(None, secs(jitter), skip, &uid))
}

fn uids() -> impl Strategy<Value = String> {
    any::<u64>().prop_map(|n| format!("8d0f3a52-4b0e-4f3e-9a55-{:012x}", n >> 16))
}

#[test]
fn fm44_clocks_that_go_forward_skip_no_day() {
    let expected = [
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-30T00:30:00Z",
    ];
    fires(
        &cron("30 2 * * *", "Europe/Berlin"),
        "2026-03-27T12:00:00Z",
        &expected,
    );
    let expected = [
        "2027-03-13T07:30:00Z",
        "2027-03-14T07:00:00Z",
        "2027-03-15T06:30:00Z",
    ];
    fires(
        &cron("30 2 * * *", "America/New_York"),
        "2027-03-12T12:00:00Z",
        &expected,
    );
    // Half an hour, on Lord Howe Island.
    let expected = [
        "2026-10-02T15:45:00Z",
        "2026-10-03T15:30:00Z",
        "2026-10-04T15:15:00Z",
    ];
    fires(
        &cron("15 2 * * *", "Australia/Lord_Howe"),
        "2026-10-02T12:00:00Z",
        &expected,
    );
}

#[test]
fn fm44_clocks_that_go_back_repeat_no_day() {
    let expected = [
        "2026-10-24T00:30:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-26T01:30:00Z",
    ];
    fires(
        &cron("30 2 * * *", "Europe/Berlin"),
        "2026-10-23T12:00:00Z",
        &expected,
    );
    // What is asked for every hour comes every hour, also in the repeated one.
    let expected = [
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-25T02:30:00Z",
    ];
    fires(
        &cron("30 * * * *", "Europe/Berlin"),
        "2026-10-25T00:00:00Z",
        &expected,
    );
}

#[test]
fn fm44_leap_days_come_when_they_come() {
    let leap = cron("0 0 29 2 *", "UTC");
    fires(
        &leap,
        "2026-11-20T12:00:00Z",
        &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
    );
    fires(&leap, "2096-02-29T00:00:00Z", &["2104-02-29T00:00:00Z"]);
}

#[test]
fn fm44_a_cron_that_never_fires_is_refused() {
    for pattern in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        let refused = Schedule::cron(pattern, "UTC").unwrap_err();
        assert_eq!(refused.field, "schedule.cron");
        assert!(refused.problem.contains("never fires"), "{}", refused.problem);
    }
    for pattern in ["", "* * * *", "0 0 0 * * *", "61 * * * *", "every day"] {
        assert_eq!(
            Schedule::cron(pattern, "UTC").unwrap_err().field,
            "schedule.cron",
            "{pattern}"
        );
    }
    assert_eq!(
        Schedule::cron("0 0 * * *", "Europe/Atlantis").unwrap_err().field,
        "schedule.timeZone"
    );
}

#[test]
fn fm45_an_interval_that_was_missed_and_skipped_comes_again() {
    let every = Schedule::every(hours(24))
        .unwrap()
        .with(None, SignedDuration::ZERO, true, UID);
    let began = at("2026-11-01T00:00:00Z");
    let next = began + hours(72);
    assert_eq!(every.due(began, began + hours(60)), Due::Later(next));
    assert_eq!(
        every.due(began, next - secs(1)),
        Due::Later(next),
        "it does not recede"
    );
    assert_eq!(every.due(began, next), Due::Now(next));
}

#[test]
fn policies_with_one_interval_are_spread_by_their_uids() {
    let began = at("2026-11-01T00:00:00Z");
    let due = |uid: &str| {
        let every = Schedule::every(hours(24))
            .unwrap()
            .with(None, hours(1), false, uid);
        every.next_after(began).unwrap().duration_since(began)
    };
    assert_eq!(due("x-000000000000"), hours(24));
    assert_eq!(due("x-00000000ea60"), hours(24) + mins(1));
}

#[test]
fn fm48_a_rotation_longer_than_the_interval_is_followed_by_one() {
    let every = || policy().scheduled(Schedule::every(mins(1)).unwrap());
    let resting = || staged().place(Place::Had).preflight(passed());
    let stages =
        |journal: &Journal, facts: &Facts, now| match decide(&every(), &journal.clone().valid(), facts, now)
            .step
        {
            Step::Act(Action::Record {
                entry: Entry::Stage,
                next,
            }) => Some(*next),
            _ => None,
        };
    let idle = Journal {
        schedule: Some(tandem::machine::journal::ScheduleMark {
            text: every().schedule.unwrap().text().to_owned(),
            since: ago(mins(1)),
        }),
        ..super::fixtures::resting()
    };
    let first = stages(&idle, &resting(), now()).expect("it is due");
    for minute in 1..300 {
        for facts in [resting(), delivered(), podless().sessions(left())] {
            assert_eq!(
                stages(&first, &facts, later(mins(minute))),
                None,
                "in minute {minute}"
            );
        }
    }
    let over = first.ended();
    let end = later(mins(300));
    let checked = || resting().kept(in_order());
    let second = stages(&over, &checked(), end).expect("one makes up for all");
    assert_eq!(second.number, over.number + 1);
    assert_eq!(
        stages(&second.clone().ended(), &checked(), end),
        None,
        "and only one"
    );
    assert!(
        stages(&second.ended(), &checked(), end + mins(1)).is_some(),
        "the next in its time"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fm44_each_time_is_later_than_the_one_before(schedule in schedules(), start in times()) {
        let mut since = start;
        for _ in 0..8 {
            let next = schedule.next_after(since).expect("there is always a next time");
            prop_assert!(next > since);
            since = next;
        }
    }

    #[test]
    fn fm44_no_time_hides_before_the_next(pattern in patterns(), zone in zones(), start in times(), part in 0.0..1.0_f64) {
        let schedule = cron(&pattern, zone);
        let next = schedule.next_after(start).unwrap();
        let between = start + next.duration_since(start).mul_f64(part);
        prop_assume!(between < next);
        prop_assert_eq!(schedule.next_after(between), Some(next));
    }

    #[test]
    fn fm44_a_daily_time_comes_once_a_day(hour in 0..24_i8, minute in 0..60_i8, zone in zones(), start in times()) {
        let schedule = cron(&format!("{minute} {hour} * * *"), zone);
        let tz = TimeZone::get(zone).unwrap();
        let wall = |time: Timestamp| time.to_zoned(tz.clone()).datetime();
        let mut last = schedule.next_after(start).unwrap();
        for _ in 0..4 {
            let next = schedule.next_after(last).unwrap();
            prop_assert_eq!(wall(next).date(), wall(last).date().tomorrow().unwrap());
            let asked = wall(next).date().to_datetime(Time::new(hour, minute, 0, 0).unwrap());
            let gap = !tz.to_ambiguous_zoned(asked).is_ambiguous();
            prop_assert!(wall(next) == asked || !gap && wall(next) > asked, "{} for {asked}", wall(next));
            last = next;
        }
    }

    #[test]
    fn jitter_is_this_policys_part_of_the_range(pattern in patterns(), zone in zones(), start in times(), jitter in 0..7200_i64, uid in uids()) {
        let spread = |bare: &Schedule| bare.clone().with(None, secs(jitter), false, &uid);
        let midnight = at("2026-11-20T00:00:00Z");
        let daily = spread(&cron("0 0 * * *", "UTC"));
        let part = daily.next_after(midnight - secs(1)).unwrap().duration_since(midnight);
        prop_assert!(!part.is_negative() && part <= secs(jitter), "{part}");
        // The same part for every schedule, at every time, after every restart.
        let bare = cron(&pattern, zone);
        prop_assert_eq!(spread(&bare).next_after(start), Some(bare.next_after(start - part).unwrap() + part));
    }

    #[test]
    fn fm45_what_is_due_is_new_and_not_in_the_future(schedule in schedules(), since in times(), later in 0..40_000_000_i64) {
        let now = since + secs(later);
        match schedule.due(since, now) {
            Due::Later(next) => prop_assert!(next > now),
            Due::Now(time) | Due::Missed(time) => prop_assert!(since < time && time <= now),
        }
    }

    #[test]
    fn fm45_any_number_of_missed_times_is_made_up_for_once(schedule in schedules(), since in times(), later in 0..40_000_000_i64) {
        let now = since + secs(later);
        // Beginning a rotation deals with every time up to now, whatever was due.
        let Due::Later(next) = schedule.due(now, now) else {
            panic!("a second one is due at once");
        };
        prop_assert_eq!(Some(next), schedule.next_after(now));
        prop_assert!(matches!(schedule.due(now, next - SignedDuration::from_nanos(1)), Due::Later(_)));
        prop_assert_eq!(schedule.due(now, next), Due::Now(next));
    }

    #[test]
    fn fm45_skipped_times_are_never_made_up_for(pattern in patterns(), zone in zones(), since in times(), later in 0..40_000_000_i64) {
        let schedule = cron(&pattern, zone).with(None, SignedDuration::ZERO, true, UID);
        let now = since + secs(later);
        match schedule.due(since, now) {
            Due::Later(next) => prop_assert_eq!(Some(next), schedule.next_after(now)),
            Due::Now(time) => prop_assert!(now.duration_since(time) <= mins(10)),
            Due::Missed(time) => panic!("{time} was missed and is made up for"),
        }
    }

    #[test]
    fn a_window_is_open_from_its_time_to_its_end(hour in 0..24_i8, zone in zones(), now in times(), length in 60..20_000_i64, jitter in 0..3600_i64) {
        let bare = cron(&format!("0 {hour} * * *"), zone).with(None, secs(jitter), false, UID);
        let schedule = bare.clone().with(Some(secs(length)), secs(jitter), false, UID);
        let opens = schedule.opens(now);
        prop_assert!(opens >= now);
        prop_assert_eq!(schedule.opens(opens), opens, "it is open when it opens");
        if opens > now {
            prop_assert_eq!(Some(opens), bare.next_after(now));
            prop_assert_eq!(bare.next_after(now - secs(length) - secs(1)), Some(opens), "it was not open");
            prop_assert_eq!(schedule.opens(opens + secs(length)), opens + secs(length), "to its end");
        } else {
            let last = bare.next_after(now - secs(length) - SignedDuration::from_nanos(1));
            prop_assert!(last.unwrap() <= now, "it opened within its length");
        }
        prop_assert_eq!(bare.opens(now), now, "without a window nothing is closed");
    }
}
