//! Asks the catalogs.

use tokio_postgres::Row;

use super::Compared;
use crate::effects::postgres::connect::{Session, Trouble};
use crate::policy::Pair;

/// More of one kind would not be read. They are cut off by the server, since there may be many thousands.
pub(super) const SHOWN: i64 = 5;

/// One statement, in the parts that all of them share.
const BEFORE: &str = "
WITH pair AS (
  SELECT r.rolname = $1 AS first, r.oid, quote_ident(r.rolname) AS me,
         quote_ident(CASE WHEN r.rolname = $1 THEN $2 ELSE $1 END) AS peer,
         $3::text AS owner, $4::int4 AS major, $5::bool AS shared
    FROM pg_roles r WHERE r.rolname IN ($1, $2)
), lone (kind, what, first, rank, give, take) AS (
";

/// What one has, or both have with different values, is one row. A value itself may be a secret and stays on the server.
const AFTER: &str = "
), folded AS (
  SELECT kind, what, bool_or(first) AS one, bool_or(NOT first) AS other,
         max(rank) FILTER (WHERE first) AS rank_one, max(rank) FILTER (WHERE NOT first) AS rank_other,
         max(give) FILTER (WHERE first) AS give_one, max(give) FILTER (WHERE NOT first) AS give_other,
         max(take) FILTER (WHERE first) AS take_one, max(take) FILTER (WHERE NOT first) AS take_other
    FROM lone GROUP BY kind, what
), numbered AS (
  SELECT f.*, count(*) OVER (PARTITION BY kind, one, other) AS total,
         row_number() OVER (PARTITION BY kind, one, other
           ORDER BY coalesce(give_one, give_other) LIKE '%REASSIGN OWNED%', what COLLATE \"C\") AS place
    FROM folded f
)
SELECT kind, what, one, rank_one, give_one, take_one, other, rank_other, give_other, take_other, total
  FROM numbered WHERE place <= $6::int8 ORDER BY kind, one, other, place";

/// All that the statements read, for when one of them may not be read.
const CATALOGS: &str = "
  SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'pg_catalog'::regnamespace
     AND c.relname IN ('pg_attrdef', 'pg_attribute', 'pg_auth_members', 'pg_class', 'pg_database', 'pg_db_role_setting',
         'pg_default_acl', 'pg_depend', 'pg_foreign_data_wrapper', 'pg_foreign_server', 'pg_language',
         'pg_largeobject_metadata', 'pg_namespace', 'pg_parameter_acl', 'pg_policy', 'pg_proc', 'pg_rewrite', 'pg_roles',
         'pg_shdepend', 'pg_tablespace', 'pg_type', 'pg_user_mappings')
     AND NOT has_table_privilege(c.oid, 'SELECT') ORDER BY 1";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Roles,
    Grants,
    Parameters,
    Objects,
    Names,
}

impl Question {
    pub(super) const ALL: [Self; 5] = [
        Self::Roles,
        Self::Grants,
        Self::Parameters,
        Self::Objects,
        Self::Names,
    ];
    /// Without what all databases share.
    pub(super) const OF_ONE_DATABASE: [Self; 2] = [Self::Grants, Self::Objects];

    fn body(self) -> &'static str {
        match self {
            Self::Roles => include_str!("roles.sql"),
            Self::Grants => include_str!("grants.sql"),
            Self::Parameters => include_str!("parameters.sql"),
            Self::Objects => include_str!("objects.sql"),
            Self::Names => include_str!("names.sql"),
        }
    }

    fn exists(self, major: u32) -> bool {
        match self {
            Self::Parameters => major >= 15,
            Self::Roles | Self::Grants | Self::Objects | Self::Names => true,
        }
    }
}

/// What kind of thing differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `INHERIT`, `CONNECTION LIMIT` and the like.
    Attribute,
    /// A role that it is a member of, and the options of that.
    Membership,
    /// It is a member of the other one.
    Nested,
    /// A role that is a member of it.
    Member,
    /// `ALTER ROLE … SET`, in all databases or in one.
    Setting,
    /// A privilege on an object, a parameter, or on what another role will make.
    Grant,
    /// A privilege that it has handed on.
    Passed,
    /// Who may use what it will make.
    Default,
    /// An object that belongs to it.
    Owner,
    /// A row security policy that names it.
    Policy,
    /// How it logs in to a foreign server.
    Mapping,
    /// Something that both have and that the administrator may not see.
    Hidden,
    /// Alike for both, and depends on which of them is logged in.
    Name,
    /// Another database, in which they do not have the same.
    Elsewhere,
}

impl Kind {
    fn of(word: &str) -> Self {
        match word {
            "attribute" => Self::Attribute,
            "membership" => Self::Membership,
            "nested" => Self::Nested,
            "member" => Self::Member,
            "setting" => Self::Setting,
            "passed" => Self::Passed,
            "default" => Self::Default,
            "owner" => Self::Owner,
            "policy" => Self::Policy,
            "mapping" => Self::Mapping,
            "hidden" => Self::Hidden,
            "name" => Self::Name,
            "elsewhere" => Self::Elsewhere,
            // The strictest, for a word that a statement has and this list has not.
            _ => Self::Grant,
        }
    }
}

/// What one of the two has of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Side {
    pub(super) has: bool,
    /// Where one can be more than the other: how much.
    pub(super) rank: Option<f64>,
    /// What gives the same to the other one.
    pub(super) give: Option<String>,
    /// What takes it from this one.
    pub(super) take: Option<String>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) kind: Kind,
    pub(super) what: String,
    pub(super) one: Side,
    pub(super) other: Side,
    /// How many there are of this kind on the same side, these included that are not shown.
    pub(super) total: i64,
}

/// Asks everything of one state of the server.
pub(super) async fn ask(
    session: &mut Session,
    compared: Compared<'_>,
    questions: &[Question],
) -> Result<Vec<Difference>, Trouble> {
    let major = session.major();
    let statements: Vec<String> = questions
        .iter()
        .filter(|question| question.exists(major))
        .map(|question| format!("{BEFORE}{}{AFTER}", question.body()))
        .collect();
    let Pair(one, other) = compared.pair;
    let owner = compared.effective_role.map(ToString::to_string);
    let shared = questions.contains(&Question::Roles);
    let rows = session
        .questions(
            &statements,
            &[
                &one.as_str(),
                &other.as_str(),
                &owner,
                &major.cast_signed(),
                &shared,
                &SHOWN,
            ],
        )
        .await?;
    Ok(rows.iter().map(difference).collect())
}

/// The catalogs that the administrator may not read.
pub(super) async fn hidden(session: &mut Session) -> Result<Vec<String>, Trouble> {
    let rows = session.query(CATALOGS, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn difference(row: &Row) -> Difference {
    let side = |first: usize| Side {
        has: row.get(first),
        rank: row.get(first + 1),
        give: row.get(first + 2),
        take: row.get(first + 3),
    };
    Difference {
        kind: Kind::of(row.get(0)),
        what: row.get(1),
        one: side(2),
        other: side(6),
        total: row.get(10),
    }
}
