//! System calls that fail, as on an older kernel, under one that only does as if it were Linux, and in a
//! container that forbids them: a seccomp(2) filter, written by hand, which programs inherit.

#![expect(
    unsafe_code,
    reason = "two system calls that the standard library does not wrap"
)]

use std::io::Error;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A call that can be made to fail, or one of its uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    number: libc::c_long,
    /// Which argument says that it is this use, the bits that matter, and what they are.
    only: Option<(u32, u32, u32)>,
}

/// A read of a file at a place within the second of its 2 MiB, the fourth and so on: no call that a system
/// lacks, but a disk that fails there.
pub(crate) const READ_BEYOND_2_MIB: Call = only(
    ("read_beyond_2_mib", libc::SYS_pread64),
    3,
    (2 << 20, 2 << 20),
);

const fn all(name: &'static str, number: libc::c_long) -> Call {
    Call {
        name,
        number,
        only: None,
    }
}

const fn only(
    (name, number): (&'static str, libc::c_long),
    argument: u32,
    (mask, bits): (u32, u32),
) -> Call {
    Call {
        name,
        number,
        only: Some((argument, mask, bits)),
    }
}

/// Of an argument that is compared as a whole.
const ALL: u32 = u32::MAX;
const VFORK: u32 = libc::CLONE_VFORK.cast_unsigned();
const TMPFILE: u32 = (libc::O_TMPFILE & !libc::O_DIRECTORY).cast_unsigned();
const TRUNCATED: u32 = libc::MSG_TRUNC.cast_unsigned();

/// The calls and uses of calls of the server that are younger or rarer than POSIX.
pub(crate) const CALLS: &[Call] = &[
    all("accept4", libc::SYS_accept4),
    only(("clone_vfork", libc::SYS_clone), 0, (VFORK, VFORK)),
    all("close_range", libc::SYS_close_range),
    all("epoll_create1", libc::SYS_epoll_create1),
    all("epoll_ctl", libc::SYS_epoll_ctl),
    #[cfg(target_arch = "x86_64")]
    all("epoll_wait", libc::SYS_epoll_wait),
    all("faccessat2", libc::SYS_faccessat2),
    all("flock", libc::SYS_flock),
    // TCP_INFO, TCP_NOTSENT_LOWAT, SIOCOUTQNSD.
    only(("tcp_info", libc::SYS_getsockopt), 2, (ALL, 11)),
    only(("not_sent_low_water", libc::SYS_setsockopt), 2, (ALL, 25)),
    only(("not_sent", libc::SYS_ioctl), 1, (ALL, 0x894b)),
    all("fstatfs", libc::SYS_fstatfs),
    only(
        ("get_pipe_size", libc::SYS_fcntl),
        1,
        (ALL, libc::F_GETPIPE_SZ.cast_unsigned()),
    ),
    only(
        ("get_seals", libc::SYS_fcntl),
        1,
        (ALL, libc::F_GET_SEALS.cast_unsigned()),
    ),
    all("getrandom", libc::SYS_getrandom),
    all("landlock_create_ruleset", libc::SYS_landlock_create_ruleset),
    only(
        ("limit_locks", libc::SYS_prlimit64),
        1,
        (ALL, libc::RLIMIT_LOCKS),
    ),
    all("madvise", libc::SYS_madvise),
    all("memfd_create", libc::SYS_memfd_create),
    only(
        ("no_new_privs", libc::SYS_prctl),
        0,
        (ALL, libc::PR_SET_NO_NEW_PRIVS.cast_unsigned()),
    ),
    only(("o_tmpfile", libc::SYS_openat), 2, (TMPFILE, TMPFILE)),
    all("openat2", libc::SYS_openat2),
    only(
        ("parent_death_signal", libc::SYS_prctl),
        0,
        (ALL, libc::PR_SET_PDEATHSIG.cast_unsigned()),
    ),
    only(
        ("peer_credentials", libc::SYS_getsockopt),
        2,
        (ALL, libc::SO_PEERCRED.cast_unsigned()),
    ),
    // SO_PASSRIGHTS, Linux 6.16.
    only(("pass_rights", libc::SYS_setsockopt), 2, (ALL, 83)),
    all("pipe2", libc::SYS_pipe2),
    all("ppoll", libc::SYS_ppoll),
    all("prlimit64", libc::SYS_prlimit64),
    all("pwritev2", libc::SYS_pwritev2),
    only(
        ("receive_low_water", libc::SYS_setsockopt),
        2,
        (ALL, libc::SO_RCVLOWAT.cast_unsigned()),
    ),
    only(
        ("receive_truncated", libc::SYS_recvfrom),
        3,
        (TRUNCATED, TRUNCATED),
    ),
    all("sched_getaffinity", libc::SYS_sched_getaffinity),
    all("sched_setscheduler", libc::SYS_sched_setscheduler),
    all("sendfile", libc::SYS_sendfile),
    only(
        ("set_dumpable", libc::SYS_prctl),
        0,
        (ALL, libc::PR_SET_DUMPABLE.cast_unsigned()),
    ),
    only(
        ("set_name", libc::SYS_prctl),
        0,
        (ALL, libc::PR_SET_NAME.cast_unsigned()),
    ),
    only(
        ("set_pipe_size", libc::SYS_fcntl),
        1,
        (ALL, libc::F_SETPIPE_SZ.cast_unsigned()),
    ),
    all("statx", libc::SYS_statx),
    only(
        ("subreaper", libc::SYS_prctl),
        0,
        (ALL, libc::PR_SET_CHILD_SUBREAPER.cast_unsigned()),
    ),
    all("sysinfo", libc::SYS_sysinfo),
    only(("unsent", libc::SYS_ioctl), 1, (ALL, 0x5411)),
    // Not used: Podman and Docker forbid it, so nobody is to begin to.
    all("vmsplice", libc::SYS_vmsplice),
];

/// The one of this name.
pub(crate) fn call(name: &str) -> Call {
    *CALLS.iter().find(|call| call.name == name).unwrap()
}

/// A call that fails, and with which errno.
pub(crate) type Denial = (Call, i32);

/// What an errno is called in `CAFFEINE_TEST_DENY`.
pub(crate) const ERRNOS: [(&str, i32); 3] = [
    ("EPERM", libc::EPERM),
    ("ENOSYS", libc::ENOSYS),
    ("EINVAL", libc::EINVAL),
];

/// What the whole run is to do without: `CAFFEINE_TEST_DENY=NAME:ERRNO[,NAME:ERRNO]`, with the names in
/// `CALLS`.
pub(crate) fn denied_by_environment() -> Vec<Denial> {
    let Ok(text) = std::env::var("CAFFEINE_TEST_DENY") else {
        return Vec::new();
    };
    let words = text.split(',').filter(|word| !word.is_empty());
    words.map(denial).collect()
}

fn denial(word: &str) -> Denial {
    let (name, errno) = word.split_once(':').unwrap();
    let call = CALLS.iter().find(|call| call.name == name);
    let errno = ERRNOS.iter().find(|(known, _)| *known == errno);
    match (call, errno) {
        (Some(call), Some((_, errno))) => (*call, *errno),
        _ => panic!("CAFFEINE_TEST_DENY={word}: no such call or errno"),
    }
}

fn instruction(code: u32, k: u32, (jt, jf): (u8, u8)) -> libc::sock_filter {
    let code = u16::try_from(code).unwrap();
    libc::sock_filter { code, jt, jf, k }
}

/// The filter: for each denial a comparison, and an answer that the others jump over.
fn filter(denials: &[Denial]) -> Vec<libc::sock_filter> {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let is = libc::BPF_JMP | libc::BPF_JEQ;
    let and = libc::BPF_ALU | libc::BPF_AND;
    let mut program = Vec::new();
    for (call, errno) in denials {
        // struct seccomp_data: the number, and from byte 16 on six arguments, here with the low half first.
        program.push(instruction(load, 0, (0, 0)));
        let number = u32::try_from(call.number).unwrap();
        let rest = if call.only.is_some() { 4 } else { 1 };
        program.push(instruction(is, number, (0, rest)));
        if let Some((argument, mask, bits)) = call.only {
            program.push(instruction(load, 16 + 8 * argument, (0, 0)));
            program.push(instruction(and, mask, (0, 0)));
            program.push(instruction(is, bits, (0, 1)));
        }
        let answer = libc::SECCOMP_RET_ERRNO | u32::try_from(*errno).unwrap();
        program.push(instruction(libc::BPF_RET, answer, (0, 0)));
    }
    program.push(instruction(libc::BPF_RET, libc::SECCOMP_RET_ALLOW, (0, 0)));
    program
}

/// Has a program and all that it starts run without these calls.
pub(crate) fn deny(command: &mut Command, denials: &[Denial]) {
    if denials.is_empty() {
        return;
    }
    let mut filter = filter(denials);
    let install = move || {
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).unwrap_or(0),
            filter: filter.as_mut_ptr(),
        };
        let how = libc::SECCOMP_MODE_FILTER;
        for _ in 0..2 {
            // SAFETY: the program and its instructions live.
            if unsafe { libc::prctl(libc::PR_SET_SECCOMP, how, &raw const program) } == 0 {
                return Ok(());
            }
            // Only root may without. It is not the first choice, since set-user-id programs lose by it.
            // SAFETY: takes integers.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        }
        Err(Error::last_os_error())
    };
    // SAFETY: makes two system calls and nothing else.
    unsafe { command.pre_exec(install) };
}
