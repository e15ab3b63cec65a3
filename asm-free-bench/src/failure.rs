//! Why a run has failed: one sentence, which names the object.

use std::fmt;

/// What ends the run with exit code 1.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// Something answered, and the answer is wrong.
    pub(crate) fn wrong(what: impl fmt::Display) -> Self {
        Self(format!("wrong answer: {what}"))
    }

    /// `unable to <verb> <object>: <why>`.
    pub(crate) fn unable(what: &str, why: impl fmt::Display) -> Self {
        Self(format!("unable to {what}: {why}"))
    }

    /// The same failure, with what the server has said meanwhile.
    pub(crate) fn with(self, more: &str) -> Self {
        Self(format!("{}\n{more}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
