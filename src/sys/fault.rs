//! Says before each call whether a test wants it to fail. Only with the feature `fault-injection`;
//! without it the answers are constants, and nothing of this is left in the program.

#[cfg(feature = "fault-injection")]
mod table;

#[cfg(feature = "fault-injection")]
pub(super) use table::{become_parent, become_worker, due, due_in_child};

#[cfg(not(feature = "fault-injection"))]
pub(super) use never::{become_parent, become_worker, due, due_in_child};

/// Without the feature no call fails but those that do.
#[cfg(not(feature = "fault-injection"))]
mod never {
    use crate::sys::errno::Errno;

    #[inline(always)]
    pub(in crate::sys) fn due(_: &'static str) -> Option<Errno> {
        None
    }

    #[inline(always)]
    pub(in crate::sys) fn due_in_child(_: &'static str) -> bool {
        false
    }

    #[inline(always)]
    pub(in crate::sys) fn become_parent() {}

    #[inline(always)]
    pub(in crate::sys) fn become_worker() {}
}
