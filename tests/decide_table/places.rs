//! How long a rotation keeps its place among those of other policies.

use tandem::machine::Journal;
use tandem::machine::place::kept_until;
use tandem::policy::Policy;

use crate::fixtures::*;

#[test]
fn fm49_a_place_is_kept_while_something_is_done_and_no_longer_than_a_rollout_may_take() {
    let kept = |policy: &Policy, journal: Journal| kept_until(policy, &journal.rotation.unwrap());
    let begun = || running().started(ago(mins(29)));
    assert_eq!(kept(&policy(), begun()), Some(later(mins(1))));
    let overdue = running().started(ago(hours(2)));
    assert!(kept(&policy(), overdue).is_some_and(|until| until < now()));
    let drains = || begun().rolled_out(now());
    let limit = Some(later(mins(1)));
    assert_eq!(kept(&policy(), drains()), limit, "the drain logs in");
    let keeping = policy().keeping_the_old_for(hours(24));
    assert_eq!(kept(&keeping, begun()), limit);
    assert_eq!(kept(&keeping, drains()), None, "nothing is done for a day");
    assert_eq!(kept(&policy().suspended(), begun()), None, "it does not go on");
}
