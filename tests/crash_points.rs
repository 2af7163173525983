//! x
mod sim;

use sim::data::{Guards, MarkBy};
use sim::explore::explore;
use sim::mutants::MUTANTS;
use sim::start::starts;
use tandem::controller::turn::Machine;

#[test]
fn guards() {
    let all = Guards::ALL;
    let without = [
        ("version", Guards { version: false, ..all }),
        ("deadline", Guards { deadline: false, ..all }),
        ("settle", Guards { settle: false, ..all }),
        ("named", Guards { named: false, ..all }),
        ("rotation mark", Guards { mark: MarkBy::Rotation, ..all }),
        ("second mark", Guards { mark: MarkBy::Second, ..all }),
    ];
    for (name, guards) in without {
        let t = std::time::Instant::now();
        let found = (0..=2).find_map(|budget| starts().into_iter().skip(0).find_map(|(start_name, mut start)| {
            start.guards = guards;
            Some((budget, start_name, explore(&Machine, &start, budget).err()?))
        }));
        match found {
            Some((budget, start, found)) => println!("{name} budget {budget} {start} {:?}: {}\n{}", t.elapsed(), found.broken, found.story),
            None => println!("{name} NOT NEEDED {:?}", t.elapsed()),
        }
    }
}
