//! What a test may ask of a PostgreSQL server.

/// A server to be started. The default is PostgreSQL 15 named `db`, reachable by TLS only.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The name of its Service and pod.
    pub name: String,
    /// Its major version: 14 to 18.
    pub version: u32,
    /// Statements that the superuser runs in the database `postgres` when it is up.
    pub sql: Vec<String>,
    /// Lines of `pg_hba.conf` for connections by network, instead of the usual «SCRAM by TLS, nothing else».
    /// The superuser can always log in.
    pub hba: Option<String>,
    /// Settings of `postgresql.conf`, over the lab's own.
    pub settings: Vec<(String, String)>,
    /// Whether it has a certificate. Without one, logins without TLS are accepted.
    pub tls: bool,
    /// Further names in its certificate, for Services that lead to it by another name.
    pub hosts: Vec<String>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            name: "db".to_owned(),
            version: 15,
            sql: Vec::new(),
            hba: None,
            settings: Vec::new(),
            tls: true,
            hosts: Vec::new(),
        }
    }
}

impl PostgresOptions {
    /// The default, under another name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Of another major version.
    #[must_use]
    pub fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// With one more statement to begin with.
    #[must_use]
    pub fn sql(mut self, statement: &str) -> Self {
        self.sql.push(statement.to_owned());
        self
    }

    /// With one more setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these lines of `pg_hba.conf` for connections by network.
    #[must_use]
    pub fn hba(self, lines: &str) -> Self {
        Self {
            hba: Some(lines.to_owned()),
            ..self
        }
    }

    /// Without a certificate.
    #[must_use]
    pub fn without_tls(self) -> Self {
        Self { tls: false, ..self }
    }
}
