//! Who may write a handler: whoever can is as good as the server's user. One rule for the worker that
//! is asked to run one and for `--check`. Pure but for asking whose process this is.

use crate::sys::file::Stat;
use crate::sys::{privilege, process};
use std::fmt::{self, Display};

/// Who may write a handler, and what may replace it: the folders that it is in.
#[derive(Clone, Copy, Debug)]
pub struct Writers {
    group: u32,
    /// Root runs nobody else's handlers.
    is_root: bool,
}

/// Somebody else who can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Its owner, where only root may be that.
    Owner(u32),
    /// A group that may have other members.
    Group(u32),
    /// Everybody.
    All,
}

impl Writers {
    /// Its owner, and the members of its owner's or this process' own group (umask 002 is usual
    /// where each user has one, of the same number); for root, root.
    pub fn of_this_process() -> Self {
        Self {
            group: privilege::effective_gid(),
            is_root: process::effective_uid() == 0,
        }
    }

    /// Who else can write a file or folder.
    pub fn stranger(self, stat: &Stat) -> Option<Stranger> {
        self.judge(stat.uid, stat.gid, stat.permissions())
    }

    /// Who else can replace what is in a folder and belongs to root or the server's user: in a sticky
    /// one only its owner.
    pub fn stranger_above(self, stat: &Stat) -> Option<Stranger> {
        let mode = stat.permissions();
        let is_sticky = mode & 0o1000 != 0;
        let mode = if is_sticky { 0 } else { mode };
        self.judge(stat.uid, stat.gid, mode)
    }

    fn judge(self, uid: u32, gid: u32, mode: u32) -> Option<Stranger> {
        if self.is_root && uid != 0 {
            Some(Stranger::Owner(uid))
        } else if mode & 0o002 != 0 {
            Some(Stranger::All)
        } else if mode & 0o020 != 0 && ![self.group, uid, 0].contains(&gid) {
            Some(Stranger::Group(gid))
        } else {
            None
        }
    }
}

/// `WHAT; WHAT TO DO`, behind the name of the file.
impl Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(uid) => write!(
                f,
                "belongs to user {uid}, who is not root as the server is; chown it to root, or use --user {uid}"
            )?,
            Self::Group(gid) => write!(f, "can be changed by group {gid}; chmod g-w it")?,
            Self::All => {
                f.write_str("can be changed by every user of this host; chmod o-w it")?;
            }
        }
        f.write_str(", or say allow-writable = yes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_else_can_write_is_named() {
        let of = |is_root, group| Writers { group, is_root };
        for (writers, (uid, gid, mode), expected) in [
            (of(true, 0), (0, 0, 0o755), None),
            (of(true, 0), (0, 0, 0o775), None),
            (of(true, 0), (0, 7, 0o755), None),
            (of(true, 0), (0, 7, 0o775), Some(Stranger::Group(7))),
            (of(true, 0), (0, 0, 0o757), Some(Stranger::All)),
            (of(true, 0), (5, 5, 0o555), Some(Stranger::Owner(5))),
            (of(true, 0), (5, 5, 0o777), Some(Stranger::Owner(5))),
            (of(false, 5), (5, 5, 0o775), None),
            (of(false, 5), (6, 6, 0o775), None),
            (of(false, 5), (6, 5, 0o775), None),
            (of(false, 5), (6, 7, 0o755), None),
            (of(false, 5), (6, 7, 0o775), Some(Stranger::Group(7))),
            (of(false, 5), (5, 5, 0o777), Some(Stranger::All)),
        ] {
            let found = writers.judge(uid, gid, mode);
            assert_eq!(found, expected, "{writers:?} {uid} {gid} {mode:o}");
        }
    }
}
