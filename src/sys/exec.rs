//! execve(2): another program in this process' place.

use super::{Error, once};
use std::ffi::{CStr, CString};

/// A list as the kernel wants it.
fn pointers(list: &[CString]) -> Vec<*const libc::c_char> {
    let ends = std::iter::once(std::ptr::null());
    list.iter().map(|text| text.as_ptr()).chain(ends).collect()
}

/// Forked child: becomes this program. Comes back only to say why not.
pub fn replace(program: &CStr, argv: &[CString], envp: &[CString]) -> Option<Error> {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: all strings are NUL-terminated and live, both lists end in a null pointer.
    once("execve", || unsafe {
        libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr())
    })
    .err()
}
