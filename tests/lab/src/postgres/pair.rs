//! The usual surroundings of a rotation: two users of one application, and who may change their passwords.

use anyhow::Result;

use super::{Postgres, PostgresOptions};
use crate::namespace::Namespace;
use crate::random;

/// The Secret of a [`Stage`] that names the application's user.
pub const CREDENTIALS_SECRET: &str = "db-credentials";
/// The Secret of a [`Stage`] with the login of who may change passwords.
pub const ADMIN_SECRET: &str = "db-admin";
/// The `ConfigMap` of a [`Stage`] with the databases' authority, under `ca.crt`.
pub const CA_CONFIG_MAP: &str = "db-ca";

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The role's name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Login {
    /// The two together.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    fn random(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: random::password(),
        }
    }
}

/// Two users that are members of one owner, the owner's database, and an administrator of just the two.
#[derive(Clone)]
pub struct Pair {
    /// The user that the application begins with: `app_a`.
    pub a: Login,
    /// The other one: `app_b`.
    pub b: Login,
    /// Who may change their passwords and see their sessions: `rotator`.
    pub admin: Login,
    /// The role that owns everything and that both become: `app_owner`.
    pub owner: String,
    /// The application's database, with a table `orders`: `appdb`.
    pub database: String,
}

impl Default for Pair {
    /// The usual names, and passwords that nobody else has.
    fn default() -> Self {
        Self {
            a: Login::random("app_a"),
            b: Login::random("app_b"),
            admin: Login::random("rotator"),
            owner: "app_owner".to_owned(),
            database: "appdb".to_owned(),
        }
    }
}

impl Postgres {
    /// Makes the roles, the database and its table.
    ///
    /// # Errors
    /// When the server refuses one of them.
    pub async fn pair(&self, pair: &Pair) -> Result<()> {
        let Pair {
            a,
            b,
            admin,
            owner,
            database,
        } = pair;
        let login =
            |Login { user, password }: &Login| format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'");
        let (user_a, user_b, rotator) = (&a.user, &b.user, &admin.user);
        let mut roles = vec![
            format!("CREATE ROLE {owner} NOLOGIN"),
            login(a),
            login(b),
            format!("GRANT {owner} TO {user_a}, {user_b}"),
            format!("ALTER ROLE {user_a} SET role = '{owner}'"),
            format!("ALTER ROLE {user_b} SET role = '{owner}'"),
            format!("{} CREATEROLE", login(admin)),
            format!("GRANT pg_read_all_stats TO {rotator}"),
        ];
        if self.version() >= 16 {
            // Before, the right to create roles was the right to change all of them.
            roles.push(format!(
                "GRANT {user_a}, {user_b} TO {rotator} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
            ));
        }
        let roles = roles.join("; ");
        self.sql("postgres", &roles).await?;
        self.sql("postgres", &format!("CREATE DATABASE {database} OWNER {owner}"))
            .await?;
        let table =
            "CREATE TABLE orders (id bigserial PRIMARY KEY, note text, placed timestamptz DEFAULT now())";
        let tables = format!(
            "CREATE EXTENSION pg_stat_statements; GRANT ALL ON SCHEMA public TO {owner}; SET ROLE {owner}; {table};"
        );
        self.sql(database, &tables).await?;
        Ok(())
    }
}

/// A server with a pair, and what an application and a controller need to use it.
#[derive(Clone)]
pub struct Stage {
    /// The namespace that all of it is in.
    pub namespace: Namespace,
    /// The server.
    pub postgres: Postgres,
    /// The users and the database.
    pub pair: Pair,
}

impl Namespace {
    /// A server with a pair; the Secrets `db-credentials` (of the first user) and `db-admin`, each with `username` and
    /// `password`; and the `ConfigMap` `db-ca` with `ca.crt`.
    ///
    /// # Errors
    /// When any of it cannot be made.
    pub async fn stage(&self, options: PostgresOptions) -> Result<Stage> {
        let pair = Pair::default();
        let postgres = self.postgres(options).await?;
        postgres.pair(&pair).await?;
        for (name, login) in [(CREDENTIALS_SECRET, &pair.a), (ADMIN_SECRET, &pair.admin)] {
            self.secret(name, &[("username", &login.user), ("password", &login.password)])
                .await?;
        }
        self.config_map(CA_CONFIG_MAP, &[("ca.crt", self.lab().ca_pem())])
            .await?;
        Ok(Stage {
            namespace: self.clone(),
            postgres,
            pair,
        })
    }
}
