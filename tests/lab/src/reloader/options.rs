//! How a Reloader is to run.

use std::path::PathBuf;

use super::{BINARY_VARIABLE, NAME};

/// How a Reloader is to run: by the very flags and variables of the real one.
#[derive(Clone, Debug)]
pub struct ReloaderOptions {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) wide: bool,
    pub(super) bare: bool,
    pub(super) double: bool,
    pub(super) name: String,
    pub(super) withheld: Vec<String>,
}

impl Default for ReloaderOptions {
    /// One that handles its own namespace, and is otherwise as its chart installs it.
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            wide: false,
            bare: false,
            double: false,
            name: NAME.to_owned(),
            withheld: Vec::new(),
        }
    }
}

impl ReloaderOptions {
    /// One that writes annotations, not variables.
    #[must_use]
    pub fn annotations() -> Self {
        Self::default().arg("--reload-strategy=annotations")
    }

    /// One for these namespaces, with rights in all.
    #[must_use]
    pub fn in_namespaces(names: &[&str]) -> Self {
        Self {
            wide: true,
            ..Self::default()
        }
        .arg(&format!("--namespaces={}", names.join(",")))
    }

    /// One for all namespaces with a label, as in `team=a`. The label has to be one that no other test uses: a Reloader
    /// for the whole cluster would meddle with every test there is.
    #[must_use]
    pub fn in_labelled_namespaces(selector: &str) -> Self {
        Self {
            wide: true,
            ..Self::default()
        }
        .arg(&format!("--namespace-selector={selector}"))
    }

    /// With one more argument, as in `--auto-reload-all=true`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.args.push(argument.to_owned());
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a Deployment: a program outside the cluster, which starts in no time.
    #[must_use]
    pub fn bare(self) -> Self {
        Self { bare: true, ..self }
    }

    /// The double, even when there is the real program: of that there can be only one, since it always listens on the
    /// same port.
    #[must_use]
    pub fn double(self) -> Self {
        Self { double: true, ..self }
    }

    /// With a name that is not its chart's: that of its service account, of its Deployment and in what it publishes.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// Without any right on a resource that its chart grants, as in `deployments`.
    #[must_use]
    pub fn withholding(mut self, resource: &str) -> Self {
        self.withheld.push(resource.to_owned());
        self
    }

    /// The program to run in place of the double.
    pub(super) fn binary(&self) -> Option<PathBuf> {
        std::env::var_os(BINARY_VARIABLE)
            .filter(|path| !self.double && !path.is_empty())
            .map(PathBuf::from)
    }

    /// The last value of a flag, as it was given.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        let values = self
            .args
            .iter()
            .filter_map(|argument| argument.strip_prefix(name));
        values.filter_map(|value| value.strip_prefix('=')).next_back()
    }
}
