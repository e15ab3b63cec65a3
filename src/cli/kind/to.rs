//! Where a value goes: into a setting of the server, of one handler, or of both.

use super::{Destination, Standing};
use crate::cli::error::Reason;
use crate::settings::{HandlerSettings, Settings};

/// Where a value of type `V` goes. A place without a setter is one where the option cannot stand.
#[derive(Debug)]
pub struct To<V> {
    /// Into the settings of the server: command line and top of the file.
    pub server: Option<fn(&mut Settings, V)>,
    /// Into those of one handler: a `[handler]` section.
    pub handler: Option<fn(&mut HandlerSettings, V)>,
}

// By hand: a derive would ask for `V: Copy`, though there are only pointers to functions.
impl<V> Clone for To<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for To<V> {}

/// Of the server only.
pub(in crate::cli) const fn server<V>(set: fn(&mut Settings, V)) -> To<V> {
    To {
        server: Some(set),
        handler: None,
    }
}

/// Of one handler only.
pub(in crate::cli) const fn handler<V>(set: fn(&mut HandlerSettings, V)) -> To<V> {
    To {
        server: None,
        handler: Some(set),
    }
}

/// Of the server, and of a handler that has its own.
pub(in crate::cli) const fn both<V>(
    set: fn(&mut Settings, V),
    own: fn(&mut HandlerSettings, V),
) -> To<V> {
    To {
        server: Some(set),
        handler: Some(own),
    }
}

impl<V> To<V> {
    pub(super) const fn standing(&self) -> Standing {
        let in_file = self.server.is_some();
        Standing {
            on_line: in_file,
            in_file,
            in_handler: self.handler.is_some(),
        }
    }

    pub(super) fn put(&self, target: &mut Destination<'_>, value: V) -> Result<(), Reason> {
        match (target, self.server, self.handler) {
            (Destination::Check, Some(_), _) => {}
            (Destination::Server(settings), Some(set), _) => set(settings, value),
            (Destination::Handler(settings), _, Some(set)) => set(settings, value),
            _ => return Err(Reason::NotHere(self.standing().words())),
        }
        Ok(())
    }
}
