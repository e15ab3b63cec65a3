//! The inner parts that benchmarks, fuzz targets and the test of allocations call, and no others.
//! Refuses to promise them to anybody: they change with the server, whatever its version says.

pub mod birth {
    pub use crate::birth::Birth;
}

pub mod cgi {
    pub use crate::cgi::{BadOutput, Output, OutputParser};
}

pub mod channel {
    pub use crate::channel::{
        Incoming, ORDER_BYTES, Order, Received, Serve, Stage, VERDICT_BYTES, Verdict, decode,
        encode, receive_birth, receive_order, receive_verdict, send_order, send_verdict,
    };
}

pub mod cli {
    pub use crate::cli::config::MAX_BYTES as MAX_CONFIG_BYTES;
    pub use crate::cli::error::{MistakePlace, Reason};
    pub use crate::cli::options::find as find_option;
    pub use crate::cli::{Invocation, Parsed, Surroundings, UsageError, combine, parse};
}

pub mod http {
    pub use crate::http::{
        CHUNKED_BYTES, Chunked, DecodedPath, FieldStore, Form, Framing, Head, HeadLimits,
        Malformed, Progress, ResponseHead, Version, begin, finish, imf_fixdate, is_authority,
        is_field_value, is_token, parse, push_field, push_path, split, split_port, trim,
    };
}

pub mod log {
    pub use crate::log::Log;
}

pub mod handover {
    pub use crate::parent::upgrade::records::{RECORD_BYTES, decode, encode};
}

pub mod route {
    pub use crate::route::{Route, Router, Writers};
}

pub mod scoreboard {
    pub use crate::scoreboard::{Report, Scoreboard, Slot, Ticket};
}

pub mod settings {
    pub use crate::settings::{Level, Settings};
}

pub mod sys {
    pub mod confine {
        pub use crate::sys::confine::Bounds;
    }

    pub mod fd {
        pub use crate::sys::fd::{
            AsFd, close_all_but, duplicate_onto, pipe, read, set_nonblocking,
        };
    }

    pub mod file {
        pub use crate::sys::file::{Open, open_at, stat};
    }

    pub mod launch {
        pub use crate::sys::launch::{Launcher, Plan, Pointers};
    }

    pub mod machine {
        pub use crate::sys::machine::cpus;
    }

    pub mod memory {
        pub use crate::sys::memory::shared_words;
    }

    pub mod process {
        pub use crate::sys::process::{
            Ended, Pid, exit_now, fork, kill, pid, signal_with_parent, wait_for,
        };
    }

    pub mod readiness {
        pub use crate::sys::readiness::Readiness;
    }

    pub mod poll {
        pub use crate::sys::poll::{READABLE, wait_one};
    }

    pub mod socket {
        pub use crate::sys::socket::{accept, discard, listen_unix, pair, peek, receive, send};
    }

    pub mod time {
        pub use crate::sys::time::{Moment, now};
    }
}

pub mod worker {
    pub use crate::worker::run;
}
