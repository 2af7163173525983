//! What to tell of the differences: what stands in the way, to whom it belongs, and what mends it.

use super::Compared;
use super::catalog::{Difference, Kind, SHOWN, Side};
use crate::effects::postgres::server::Server;
use crate::effects::postgres::words::{blocker, quoted, run, warning};
use crate::machine::facts::Finding;
use crate::policy::Pair;
use crate::policy::target::RoleName;

const REASON: &str = "PairDiffers";
const UNSEEN: &str = "ParityNotChecked";

/// How the standby stands to the active user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// It has not what the other one has: an application would miss it after the flip.
    Lacks,
    /// It has what the other one has not.
    HasMore,
    /// Both have it, and not the same.
    Differs,
    /// One of them is a member of the other.
    Nested,
    /// It is the same for both, and not the same thing.
    Alike,
    /// Nobody could see.
    Unseen,
}

/// A difference, judged.
struct Judged<'a> {
    case: Case,
    blocks: bool,
    mend: Option<&'a str>,
    difference: &'a Difference,
}

/// One finding for each kind and case, with a bounded number of differences in it.
pub(super) fn findings(
    server: &Server,
    compared: Compared<'_>,
    admin: &RoleName,
    differences: &[Difference],
) -> Vec<Finding> {
    let mut groups: Vec<Vec<Judged<'_>>> = Vec::new();
    for judged in differences
        .iter()
        .filter_map(|difference| judge(difference, compared))
    {
        let alike = |group: &&mut Vec<Judged<'_>>| {
            group.first().is_some_and(|first| {
                (first.case, first.blocks, first.difference.kind)
                    == (judged.case, judged.blocks, judged.difference.kind)
            })
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(judged),
            None => groups.push(vec![judged]),
        }
    }
    groups
        .iter()
        .filter_map(|group| told(server, compared, admin, group))
        .collect()
}

fn judge<'a>(difference: &'a Difference, compared: Compared<'_>) -> Option<Judged<'a>> {
    let Difference {
        kind,
        what,
        one,
        other,
        ..
    } = difference;
    let (active, standby) = match compared.active {
        Some(active) if *active == compared.pair.1 => (other, one),
        Some(_) => (one, other),
        // Nobody knows which of them applications are: what either lacks stands in the way.
        None if one.has => (one, other),
        None => (other, one),
    };
    let judged = |case, blocks, mend: &'a Option<String>| {
        Some(Judged {
            case,
            blocks,
            mend: mend.as_deref(),
            difference,
        })
    };
    match kind {
        Kind::Nested => judged(Case::Nested, true, if one.has { &one.take } else { &other.take }),
        Kind::Name => judged(Case::Alike, false, &one.give),
        Kind::Hidden => judged(Case::Unseen, false, &None),
        Kind::Elsewhere => None,
        Kind::Attribute
        | Kind::Membership
        | Kind::Member
        | Kind::Setting
        | Kind::Grant
        | Kind::Passed
        | Kind::Default
        | Kind::Owner
        | Kind::Policy
        | Kind::Mapping => match (active.has, standby.has) {
            (true, false) => {
                // Others would miss it, the application does not.
                let others = matches!(kind, Kind::Member | Kind::Passed);
                judged(Case::Lacks, !others, &active.give)
            }
            (false, true) => {
                // What changes which rows are seen, or how the server behaves, is more than a surplus.
                let behaves = matches!(kind, Kind::Setting | Kind::Policy) || what == "BYPASSRLS";
                judged(Case::HasMore, behaves, &standby.take)
            }
            (true, true) => judged(Case::Differs, !roomier(standby, active), &active.give),
            (false, false) => None,
        },
    }
}

/// Whether one may do more than the other by the same measure: a higher limit, a later end.
fn roomier(this: &Side, that: &Side) -> bool {
    this.rank.zip(that.rank).is_some_and(|(this, that)| this > that)
}

fn told(server: &Server, compared: Compared<'_>, admin: &RoleName, group: &[Judged<'_>]) -> Option<Finding> {
    let first = group.first()?;
    let Pair(one, other) = compared.pair;
    let (active, standby) = match compared.active {
        Some(active) if active == other => (other, one),
        Some(_) => (one, other),
        None if first.difference.one.has => (one, other),
        None => (other, one),
    };
    let (active, standby) = (quoted(active), quoted(standby));
    let at = place(server);
    let list = list(group);
    let message = match first.case {
        Case::Lacks => format!("{standby} lacks at {at} what {active} has: {list}"),
        Case::HasMore => format!("{standby} has at {at} what {active} has not: {list}"),
        Case::Differs => format!("{standby} and {active} differ at {at} in {list}"),
        Case::Nested => format!(
            "at {at} {list}: it could become that user, and what belongs to the one would hang on the other. Let both be members of one owner role instead"
        ),
        Case::Alike => {
            format!("what happens at {at} depends on which of {active} and {standby} is logged in: {list}")
        }
        Case::Unseen => format!(
            "{} may not see and so did not compare at {at}: {list}",
            quoted(admin)
        ),
    };
    let mend = match first.case {
        Case::Unseen => run(&format!(
            "SELECT srvname, usename, umoptions FROM pg_user_mappings WHERE usename IN ({}, {}) ORDER BY 1, 2",
            literal(one),
            literal(other)
        )),
        Case::Alike if first.mend.is_none() => {
            "let both become one owner role that everything belongs to, and ask for current_user instead of session_user; see docs/parity.md".into()
        }
        Case::Lacks | Case::HasMore | Case::Differs | Case::Nested | Case::Alike => run(&mends(group)),
    };
    let message = format!("{message}; {mend}");
    let reason = match first.case {
        Case::Unseen => UNSEEN,
        Case::Nested => "PairNested",
        Case::Alike => "PairByName",
        Case::Lacks | Case::HasMore | Case::Differs => REASON,
    };
    Some(if first.blocks {
        blocker(reason, message)
    } else {
        warning(reason, message)
    })
}

fn place(server: &Server) -> String {
    format!("{} in database {:?}", server.at(), server.database())
}

fn literal(role: &RoleName) -> String {
    postgres_protocol::escape::escape_literal(role.as_str())
}

fn list(group: &[Judged<'_>]) -> String {
    let mut items: Vec<String> = group
        .iter()
        .map(|judged| judged.difference.what.clone())
        .collect();
    let more = group
        .iter()
        .map(|judged| judged.difference.total - SHOWN)
        .max()
        .unwrap_or_default();
    if more > 0 {
        items.push(format!("and {more} more"));
    }
    items.join(", ")
}

/// One statement may mend several differences.
fn mends(group: &[Judged<'_>]) -> String {
    let mut mends: Vec<&str> = Vec::new();
    for mend in group.iter().filter_map(|judged| judged.mend) {
        if !mends.contains(&mend) {
            mends.push(mend);
        }
    }
    mends.join("; ")
}

/// Databases beyond the number that is looked into.
pub(super) fn unvisited(
    server: &Server,
    compared: Compared<'_>,
    elsewhere: &[Difference],
) -> Option<Finding> {
    let more = elsewhere.first()?.total - SHOWN;
    (more > 0).then(|| {
        let Pair(one, other) = compared.pair;
        warning(
            UNSEEN,
            format!(
                "{} and {} do not have the same in {more} more databases of {}, which are looked into when these are mended; {}",
                quoted(one),
                quoted(other),
                server.at(),
                run(&format!(
                    "SELECT datname, refobjid::regrole, count(*) FROM pg_shdepend JOIN pg_database d ON d.oid = dbid WHERE refobjid IN ({}::regrole, {}::regrole) GROUP BY 1, 2 ORDER BY 1, 2",
                    regrole(one),
                    regrole(other)
                ))
            ),
        )
    })
}

fn regrole(role: &RoleName) -> String {
    postgres_protocol::escape::escape_literal(&quoted(role))
}

/// Another database that the administrator could not look into.
pub(super) fn unseen(server: &Server, compared: Compared<'_>, why: &Finding) -> Finding {
    let Pair(one, other) = compared.pair;
    warning(
        UNSEEN,
        format!(
            "{} and {} do not have the same number of rights and objects in database {:?}, and what differs was not checked: {}",
            quoted(one),
            quoted(other),
            server.database(),
            why.message
        ),
    )
}

/// Catalogs that the administrator may not read.
pub(super) fn hidden(server: &Server, admin: &RoleName, catalogs: &[String]) -> Finding {
    let admin = quoted(admin);
    warning(
        UNSEEN,
        format!(
            "whether the two users are alike at {} was not checked: {admin} may not read {}; {}",
            server.at(),
            catalogs.join(", "),
            run(&format!("GRANT SELECT ON {} TO {admin}", catalogs.join(", ")))
        ),
    )
}
