//! The environment of this process, and execve(2): another program in its place.

use super::call::{Error, once};
use std::ffi::{CStr, CString, OsString};

/// Start of the program: a variable, taken out of the environment, so that nobody inherits it.
pub(crate) fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    // SAFETY: the server has one thread.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// Forked child: a variable for the program that it becomes.
pub(crate) fn set_variable(name: &str, value: &str) {
    // SAFETY: the child has one thread.
    unsafe { std::env::set_var(name, value) };
}

/// Forked child: becomes this program, with its own environment. Comes back only to say why not.
pub(crate) fn replace(program: &CStr, argv: &[CString]) -> Option<Error> {
    let mut words: Vec<_> = argv.iter().map(|text| text.as_ptr()).collect();
    words.push(std::ptr::null());
    // SAFETY: all strings are NUL-terminated and live, the list ends in a null pointer.
    once(&"execve", || unsafe {
        libc::execv(program.as_ptr(), words.as_ptr())
    })
    .err()
}
