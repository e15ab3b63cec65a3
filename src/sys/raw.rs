//! System calls that libc does not wrap (on every C library that is supported).
//!
//! The only user of the `sc` crate, which builds on three CPUs; elsewhere `libc::syscall` serves.
//! Each function returns the kernel's own answer: a result, or a negated errno.

#[cfg(target_os = "linux")]
use super::fault;

#[cfg(target_os = "linux")]
macro_rules! raw {
    ($name:ident, $libc:ident $(, $arg:expr)*) => {{
        if let Some(errno) = fault::due(call_of(stringify!($libc))) {
            return -(errno.raw() as isize);
        }
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
        // SAFETY: the caller's arguments fit the call (each wrapper below says why).
        let result = unsafe { sc::syscall!($name $(, $arg)*) }.cast_signed();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
        // SAFETY: the same.
        let result = match unsafe { libc::syscall(libc::$libc $(, $arg)*) } {
            ..0 => -(super::errno::Errno::last().raw() as isize),
            result => result as isize,
        };
        result
    }};
}

/// `SYS_openat2` is the number of openat2.
#[cfg(target_os = "linux")]
fn call_of(number: &'static str) -> &'static str {
    number.strip_prefix("SYS_").unwrap_or(number)
}

/// `struct open_how` of openat2(2).
#[cfg(target_os = "linux")]
#[repr(C)]
pub(super) struct OpenHow {
    pub(super) flags: u64,
    pub(super) mode: u64,
    pub(super) resolve: u64,
}

/// openat2(2), Linux 5.6. `path` is NUL-terminated.
#[cfg(target_os = "linux")]
pub(super) fn openat2(dir: i32, path: &std::ffi::CStr, how: &OpenHow) -> isize {
    // The pointers are to live values; the size is that of the struct.
    raw!(
        OPENAT2,
        SYS_openat2,
        dir,
        path.as_ptr(),
        std::ptr::from_ref(how),
        size_of::<OpenHow>()
    )
}

/// sched_setscheduler(2) of this process, at priority 0 (musl's own only says ENOSYS).
#[cfg(target_os = "linux")]
pub(super) fn sched_setscheduler(policy: i32) -> isize {
    // `struct sched_param` is one int; the kernel reads it and no more.
    let priority = 0_i32;
    raw!(
        SCHED_SETSCHEDULER,
        SYS_sched_setscheduler,
        0,
        policy,
        std::ptr::from_ref(&priority)
    )
}

/// close_range(2), Linux 5.9 (glibc wraps it since 2.34 only, musl since 1.2.5 only).
#[cfg(target_os = "linux")]
pub(super) fn close_range(first: u32, last: u32) -> isize {
    // The kernel checks the range; descriptors have no memory behind them.
    raw!(CLOSE_RANGE, SYS_close_range, first, last, 0)
}

/// pwritev2(2) with RWF_NOWAIT at the file's own offset, Linux 4.14.
#[cfg(target_os = "linux")]
pub(super) fn write_at_once(fd: i32, bytes: &[u8]) -> isize {
    const RWF_NOWAIT: i32 = 8;
    // An iovec; the bytes are readable for their own length. The offset is -1, in two halves.
    let piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    raw!(
        PWRITEV2,
        SYS_pwritev2,
        fd,
        std::ptr::from_ref(&piece),
        1,
        -1_isize,
        -1_isize,
        RWF_NOWAIT
    )
}
