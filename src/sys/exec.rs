//! execve(2): another program in this process' place.

use super::{Error, once};
use std::ffi::{CStr, CString};

/// Forked child: a variable for the program that it becomes.
pub fn set_variable(name: &str, value: &str) {
    // SAFETY: the child has one thread.
    unsafe { std::env::set_var(name, value) };
}

/// Forked child: becomes this program, with its own environment. Comes back only to say why not.
pub fn replace(program: &CStr, argv: &[CString]) -> Option<Error> {
    let mut words: Vec<_> = argv.iter().map(|text| text.as_ptr()).collect();
    words.push(std::ptr::null());
    // SAFETY: all strings are NUL-terminated and live, the list ends in a null pointer.
    once(&"execve", || unsafe {
        libc::execv(program.as_ptr(), words.as_ptr())
    })
    .err()
}
