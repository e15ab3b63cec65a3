//! Files beyond 2 GiB: Linux names the calls and structures for them apart (on 32-bit systems they
//! differ from the plain ones), elsewhere there is only one kind.

#[cfg(not(target_os = "linux"))]
pub(super) use libc::{fstat, fstatat, fstatvfs, ftruncate, lseek, pread, pwrite, stat, statvfs};
#[cfg(target_os = "linux")]
pub(super) use libc::{
    fstat64 as fstat, fstatat64 as fstatat, fstatvfs64 as fstatvfs, ftruncate64 as ftruncate,
    lseek64 as lseek, pread64 as pread, pwrite64 as pwrite, stat64 as stat, statvfs64 as statvfs,
};
