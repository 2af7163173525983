//! Faults on demand, for the calls about one secret.

use std::time::Duration;

use super::action::Action;

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `ThrottlingException`; nothing has happened.
    Throttle,
    /// `InternalServiceError` with status 500; nothing has happened.
    ServerErrorBefore,
    /// `InternalServiceError` with status 500, after what was asked has been done.
    ServerErrorAfter,
    /// `AccessDeniedException`.
    Deny,
    /// No answer for this long, and nothing happens before; a caller that goes away meanwhile has asked for nothing.
    Hang(Duration),
    /// What was asked is done at once, and the answer comes this much later.
    HangAfter(Duration),
    /// The write is answered at once and readers see it this much later. Writers see it at once.
    ReadersSeeItAfter(Duration),
    /// As before, but so many reads are answered as if the write had not been.
    ReadersMissIt(u32),
}

/// A fault, for some calls or until [`Aws::mend`](super::Aws::mend).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which calls; `None` is all of them.
    pub action: Option<Action>,
    /// What goes wrong.
    pub how: How,
    /// With how many calls; `None` is all that come.
    pub times: Option<u32>,
}

impl Fault {
    /// With the next call.
    #[must_use]
    pub fn once(action: Action, how: How) -> Self {
        Self {
            action: Some(action),
            how,
            times: Some(1),
        }
    }

    /// With all calls.
    #[must_use]
    pub fn always(action: Action, how: How) -> Self {
        Self {
            action: Some(action),
            how,
            times: None,
        }
    }

    /// With so many calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }
}

/// A fault that is in force.
#[derive(Debug)]
struct Trouble {
    /// Name of the secret.
    secret: String,
    /// The access key whose calls are meant; `None` is all.
    key: Option<String>,
    fault: Fault,
}

/// The faults that are in force.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Trouble>);

impl Faults {
    pub(super) fn add(&mut self, secret: &str, key: Option<&str>, fault: Fault) {
        self.0.push(Trouble {
            secret: secret.to_owned(),
            key: key.map(str::to_owned),
            fault,
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first fault that is meant for this call; it has then been used once.
    pub(super) fn take(&mut self, secret: &str, key: &str, action: Action) -> Option<How> {
        let at = self.0.iter().position(|trouble| {
            trouble.secret == secret
                && trouble.key.as_ref().is_none_or(|wanted| wanted == key)
                && trouble.fault.action.is_none_or(|wanted| wanted == action)
        })?;
        let fault = &mut self.0.get_mut(at)?.fault;
        let how = fault.how;
        if let Some(left) = &mut fault.times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.0.remove(at);
            }
        }
        Some(how)
    }
}
