//! How long a rotation keeps its place among those of other policies.

use tandem::machine::Journal;
use tandem::machine::place::kept_until;
use tandem::policy::Policy;

use crate::fixtures::*;

#[test]
fn fm49_a_place_is_kept_until_the_rollout_has_ended_and_no_longer_than_it_may_take() {
    let kept = |policy: &Policy, journal: Journal| kept_until(policy, &journal.rotation.unwrap());
    let begun = || running().started(ago(mins(29)));
    assert_eq!(kept(&policy(), begun()), Some(later(mins(1))));
    let overdue = running().started(ago(hours(2)));
    assert!(kept(&policy(), overdue).is_some_and(|until| until < now()));
    assert_eq!(
        kept(&policy(), begun().rolled_out(now())),
        None,
        "the drain needs none"
    );
    assert_eq!(kept(&policy().suspended(), begun()), None, "it does not go on");
}
