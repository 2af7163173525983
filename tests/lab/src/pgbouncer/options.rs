//! What a test may ask of a `PgBouncer`.

/// How it knows the passwords of who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// It asks the server at each login, as a user of its own.
    AuthQuery,
    /// A file says so, which is a key of a Secret; it is read again when it is told to.
    Userlist,
}

/// When it gives a client's connection to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client has left.
    Session,
    /// After each transaction.
    Transaction,
}

impl PoolMode {
    /// In its own words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
        }
    }
}

/// A pooler to be started.
#[derive(Clone, Debug)]
pub struct PgBouncerOptions {
    /// The name of its Service and pod.
    pub name: String,
    /// How it knows passwords.
    pub known_by: KnownBy,
    /// When connections change hands.
    pub mode: PoolMode,
    /// Settings of the section `[pgbouncer]`, over the lab's own.
    pub settings: Vec<(String, String)>,
    /// Further names of the application's database, each with a mode of its own.
    pub databases: Vec<(String, PoolMode)>,
}

impl PgBouncerOptions {
    /// One named `pooler` that gives connections away after each transaction.
    #[must_use]
    pub fn known_by(known_by: KnownBy) -> Self {
        Self {
            name: "pooler".to_owned(),
            known_by,
            mode: PoolMode::Transaction,
            settings: Vec::new(),
            databases: Vec::new(),
        }
    }

    /// Under another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// With one more name of the application's database, and a mode of its own.
    #[must_use]
    pub fn database(mut self, name: &str, mode: PoolMode) -> Self {
        self.databases.push((name.to_owned(), mode));
        self
    }

    /// With connections that stay with their client.
    #[must_use]
    pub fn session(self) -> Self {
        Self {
            mode: PoolMode::Session,
            ..self
        }
    }

    /// With one more setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}
