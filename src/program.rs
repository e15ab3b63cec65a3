//! What a file's bytes say of how it would be executed: a `#!` line, ELF, or neither. Pure.
//!
//! Follows Linux' fs/binfmt_script.c and fs/binfmt_elf.c. The file is hostile: every offset and
//! length in it is checked, and what is cut short is broken. Refuses to open anything; the caller
//! reads for it.

/// Bytes of a `#!` line that the kernel looks at (BINPRM_BUF_SIZE, less the NUL that it keeps).
const LINE_BYTES: usize = 255;

/// A path in a program may have (PATH_MAX).
const PATH_BYTES: usize = 4096;

/// Program headers of one file, in bytes. The kernel takes 64K; linkers make a dozen of 56.
const HEADERS_BYTES: usize = 4096;

/// Reads at an offset into the buffer: how many bytes there were.
pub(crate) type ReadAt<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> usize;

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Nothing.
    Empty,
    /// A script.
    Script(Script),
    /// `#!` and no interpreter behind it, or one that the kernel would cut.
    BadLine,
    /// A byte order mark, then `#!`: for the kernel no `#!` at all.
    Marked,
    /// A compiled program.
    Elf(Elf),
    /// Anything else.
    Other,
}

/// A `#!` line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// The first word.
    pub interpreter: Vec<u8>,
    /// The rest of the line, which is one argument.
    pub argument: Vec<u8>,
    /// The line ends in CR LF, and the CR belongs to the last word.
    pub has_cr: bool,
}

/// A compiled program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    /// `e_machine`.
    pub machine: u16,
    /// The class is 64 bits.
    pub is_64: bool,
    /// The most significant byte comes first.
    pub is_big: bool,
    /// Who loads it.
    pub loader: Loader,
}

/// Who loads a compiled program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loader {
    /// The kernel alone: it is static.
    Kernel,
    /// This program (PT_INTERP).
    Program(Vec<u8>),
    /// Nobody: the file is cut short, or is no program (an object file, a core).
    Nobody,
}

/// Looks at a file.
pub(crate) fn inspect(read: ReadAt<'_>) -> Program {
    let mut bytes = [0; LINE_BYTES];
    let n = read(0, &mut bytes);
    let head = bytes.get(..n).unwrap_or_default();
    match head {
        [] => Program::Empty,
        [b'#', b'!', line @ ..] => script(line, n < LINE_BYTES),
        [0xef, 0xbb, 0xbf, b'#', b'!', ..] => Program::Marked,
        [0x7f, b'E', b'L', b'F', ..] => elf(head, read).map_or(Program::Other, Program::Elf),
        _ => Program::Other,
    }
}

/// The line behind `#!`. A file that ends before its first line does is whole.
fn script(line: &[u8], is_whole: bool) -> Program {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let end = line.iter().position(|b| *b == b'\n');
    let (line, ends) = match end {
        Some(end) => (line.get(..end).unwrap_or_default(), true),
        None => (line, is_whole),
    };
    let has_cr = end.is_some() && line.last() == Some(&b'\r');
    let line = if has_cr {
        line.split_last().map_or(line, |(_, rest)| rest)
    } else {
        line
    };
    let start = line.iter().position(|b| !is_blank(b)).unwrap_or(line.len());
    let line = line.get(start..).unwrap_or_default();
    let word = line.iter().position(|b| is_blank(b) || *b == 0);
    let (interpreter, argument) = line
        .split_at_checked(word.unwrap_or(line.len()))
        .unwrap_or((line, &[]));
    // A path that runs to the end of what the kernel reads may go on behind it.
    if interpreter.is_empty() || (word.is_none() && !ends) {
        return Program::BadLine;
    }
    Program::Script(Script {
        interpreter: interpreter.to_vec(),
        argument: argument.trim_ascii().to_vec(),
        has_cr,
    })
}

/// Integers of one file: at an offset into some bytes, in its order and width.
#[derive(Clone, Copy)]
struct Layout {
    is_64: bool,
    is_big: bool,
}

impl Layout {
    fn number(self, bytes: &[u8], at: usize, len: usize) -> Option<u64> {
        let digits = bytes.get(at..at.checked_add(len)?)?;
        let add = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
        Some(if self.is_big {
            digits.iter().fold(0, add)
        } else {
            digits.iter().rev().fold(0, add)
        })
    }

    fn short(self, bytes: &[u8], at: usize) -> Option<u16> {
        u16::try_from(self.number(bytes, at, 2)?).ok()
    }

    /// An offset or size, 4 or 8 bytes wide; its place differs between the classes.
    fn word(self, bytes: &[u8], at_32: usize, at_64: usize) -> Option<u64> {
        match self.is_64 {
            true => self.number(bytes, at_64, 8),
            false => self.number(bytes, at_32, 4),
        }
    }
}

/// `None`: not even enough to say for which machine.
fn elf(head: &[u8], read: ReadAt<'_>) -> Option<Elf> {
    let layout = Layout {
        is_64: *head.get(4)? == 2,
        is_big: *head.get(5)? == 2,
    };
    Some(Elf {
        machine: layout.short(head, 18)?,
        is_64: layout.is_64,
        is_big: layout.is_big,
        loader: loader(layout, head, read).unwrap_or(Loader::Nobody),
    })
}

/// `None`: something is cut short or out of its range.
fn loader(layout: Layout, head: &[u8], read: ReadAt<'_>) -> Option<Loader> {
    const EXECUTABLE: u16 = 2;
    const SHARED: u16 = 3;
    const INTERPRETER: u64 = 3;
    if !matches!(layout.short(head, 16)?, EXECUTABLE | SHARED) {
        return None;
    }
    let (entry_size, count_at) = if layout.is_64 { (56, 56) } else { (32, 44) };
    let table_at = layout.word(head, 28, 32)?;
    let count = usize::from(layout.short(head, count_at)?);
    let declared = usize::from(layout.short(head, count_at - 2)?);
    let mut table = [0; HEADERS_BYTES];
    let table = table
        .get_mut(..count * entry_size)
        .filter(|t| !t.is_empty())?;
    if declared != entry_size || read(table_at, table) < table.len() {
        return None;
    }
    for entry in table.chunks_exact(entry_size) {
        if layout.number(entry, 0, 4)? == INTERPRETER {
            let at = layout.word(entry, 4, 8)?;
            let len = usize::try_from(layout.word(entry, 16, 32)?).ok()?;
            return path_at(at, len, read).map(Loader::Program);
        }
    }
    Some(Loader::Kernel)
}

/// The path of a loader: 2 to PATH_MAX bytes with a NUL at the end, as load_elf_binary() wants it.
fn path_at(at: u64, len: usize, read: ReadAt<'_>) -> Option<Vec<u8>> {
    if !(2..=PATH_BYTES).contains(&len) {
        return None;
    }
    let mut path = vec![0; len];
    if read(at, &mut path) < len || path.pop() != Some(0) {
        return None;
    }
    path.truncate(path.iter().position(|b| *b == 0).unwrap_or(path.len()));
    Some(path)
}

/// Machines (`e_machine`) with their names.
const MACHINES: &[(u16, &str)] = &[
    (3, "i386"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv"),
    (258, "loongarch"),
];

/// What this machine runs: `e_machine` and whether the class is 64 bits. A 64-bit kernel runs the
/// programs of its 32-bit sibling, and this server may be one. Empty: not known, so all is believed.
const OWN: &[(u16, bool)] = if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
    &[(62, true), (3, false)]
} else if cfg!(any(target_arch = "aarch64", target_arch = "arm")) {
    &[(183, true), (40, false)]
} else if cfg!(target_arch = "riscv64") {
    &[(243, true)]
} else {
    &[]
};

impl Elf {
    /// Whether it was built for this machine.
    pub(crate) fn fits(&self) -> bool {
        let is_own = OWN.is_empty() || OWN.contains(&(self.machine, self.is_64));
        is_own && self.is_big == cfg!(target_endian = "big")
    }

    /// The machine that it was built for.
    pub(crate) fn machine_name(&self) -> &'static str {
        let row = MACHINES.iter().find(|(number, _)| *number == self.machine);
        row.map_or("another kind of machine", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_at(bytes: &[u8]) -> Program {
        inspect(&mut |at, buffer| {
            let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
            let rest = rest.unwrap_or_default();
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            n
        })
    }

    fn script(interpreter: &str, argument: &str, has_cr: bool) -> Program {
        Program::Script(Script {
            interpreter: interpreter.into(),
            argument: argument.into(),
            has_cr,
        })
    }

    #[test]
    fn a_first_line_is_read_as_the_kernel_reads_it() {
        let long = [b"#!/".to_vec(), vec![b'x'; 300]].concat();
        let long_argument = [b"#!/bin/sh ".to_vec(), vec![b'x'; 300]].concat();
        for (bytes, expected) in [
            (&b""[..], Program::Empty),
            (b"#!/bin/sh\n", script("/bin/sh", "", false)),
            (b"#!/bin/sh", script("/bin/sh", "", false)),
            (b"#! \t/bin/sh -e  \necho", script("/bin/sh", "-e", false)),
            (
                b"#!/usr/bin/env python3\r\n",
                script("/usr/bin/env", "python3", true),
            ),
            (b"#!/bin/sh\r\nx\n", script("/bin/sh", "", true)),
            (b"#!/bin/sh\r", script("/bin/sh\r", "", false)),
            (b"#!relative\n", script("relative", "", false)),
            (b"#!/bin/sh\0-e\n", script("/bin/sh", "\0-e", false)),
            (b"#!", Program::BadLine),
            (b"#!\n/bin/sh", Program::BadLine),
            (b"#!  \r\n", Program::BadLine),
            (&long, Program::BadLine),
            (b"\xef\xbb\xbf#!/bin/sh\n", Program::Marked),
            (b"echo hello\n", Program::Other),
            (b"# !/bin/sh\n", Program::Other),
            (b"\x7fELF", Program::Other),
            (b"\0\0\0\0", Program::Other),
        ] {
            assert_eq!(
                looked_at(bytes),
                expected,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
        let Program::Script(found) = looked_at(&long_argument) else {
            panic!("no script");
        };
        assert_eq!(found.interpreter, b"/bin/sh");
    }

    /// A small ELF file: header, one program header, the loader's path.
    fn small_elf(is_64: bool, is_big: bool, machine: u16, loader: &[u8]) -> Vec<u8> {
        let (header, entry) = if is_64 { (64, 56) } else { (52, 32) };
        let mut file = vec![0; header + entry];
        let order = |number: u64, len: usize| {
            let bytes = number.to_be_bytes()[8 - len..].to_vec();
            if is_big {
                bytes
            } else {
                bytes.into_iter().rev().collect::<Vec<u8>>()
            }
        };
        let mut put = |at: usize, number: u64, len: usize| {
            file[at..at + len].copy_from_slice(&order(number, len));
        };
        let (width, at) = if is_64 { (8, 0) } else { (4, 1) };
        put(16, 3, 2);
        put(18, machine.into(), 2);
        put([32, 28][at], header as u64, width);
        put([54, 42][at], entry as u64, 2);
        put([56, 44][at], 1, 2);
        put(header, if loader.is_empty() { 1 } else { 3 }, 4);
        put(header + [8, 4][at], (header + entry) as u64, width);
        put(header + [32, 16][at], loader.len() as u64, width);
        file[..6].copy_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            if is_64 { 2 } else { 1 },
            if is_big { 2 } else { 1 },
        ]);
        file.extend_from_slice(loader);
        file
    }

    fn elf_of(bytes: &[u8]) -> Elf {
        match looked_at(bytes) {
            Program::Elf(elf) => elf,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn machine_class_order_and_loader_are_read_in_every_layout() {
        for (is_64, is_big, machine, name) in [
            (true, false, 62, "x86_64"),
            (true, false, 183, "aarch64"),
            (false, false, 40, "arm"),
            (false, true, 8, "mips"),
            (true, true, 21, "ppc64"),
            (true, false, 9999, "another kind of machine"),
        ] {
            let file = small_elf(is_64, is_big, machine, b"/lib/ld.so\0");
            let elf = elf_of(&file);
            assert_eq!(
                (elf.is_64, elf.is_big, elf.machine_name()),
                (is_64, is_big, name)
            );
            assert_eq!(
                elf.loader,
                Loader::Program(b"/lib/ld.so".to_vec()),
                "{name}"
            );
            let elf = elf_of(&small_elf(is_64, is_big, machine, b""));
            assert_eq!(elf.loader, Loader::Kernel, "{name}");
        }
    }

    #[test]
    fn this_very_program_fits_and_a_foreign_one_does_not() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = elf_of(&own);
        assert!(elf.fits() && elf.loader != Loader::Nobody, "{elf:?}");
        let foreign = if elf.machine == 183 { 62 } else { 183 };
        assert!(!elf_of(&small_elf(true, false, foreign, b"")).fits());
        assert!(!elf_of(&small_elf(true, !elf.is_big, elf.machine, b"")).fits());
        assert!(!elf_of(&small_elf(false, false, elf.machine, b"")).fits());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_broken_and_never_a_panic() {
        let file = small_elf(true, false, 62, b"/lib/ld.so\0");
        for end in 0..file.len() {
            match looked_at(&file[..end]) {
                Program::Elf(elf) => assert_eq!(elf.loader, Loader::Nobody, "{end}"),
                Program::Empty | Program::Other => assert!(end < 20, "{end}"),
                other => panic!("{end}: {other:?}"),
            }
        }
    }

    #[test]
    fn numbers_out_of_their_range_are_broken() {
        let whole = small_elf(true, false, 62, b"/lib/ld.so\0");
        for (what, at, bytes) in [
            ("an object file", 16, &[1, 0][..]),
            ("a core", 16, &[4, 0]),
            ("a table at the end of the world", 32, &[0xff; 8]),
            ("entries of another size", 54, &[1, 0]),
            ("no entries", 56, &[0, 0]),
            ("more entries than are read", 56, &[0xff, 0xff]),
            ("more entries than there are", 56, &[9, 0]),
            ("a path at the end of the world", 72, &[0xff; 8]),
            ("a path of all bytes", 96, &[0xff; 8]),
            ("a path of one byte", 96, &[1, 0, 0, 0, 0, 0, 0, 0]),
            ("a path without its end", 96, &[5, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            let mut file = whole.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(elf_of(&file).loader, Loader::Nobody, "{what}");
        }
    }

    #[test]
    fn no_single_byte_of_a_head_leads_to_a_panic() {
        let whole = small_elf(true, false, 62, b"/lib/ld.so\0");
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut file = whole.clone();
                file[at] = byte;
                let _ = looked_at(&file);
            }
        }
    }
}
