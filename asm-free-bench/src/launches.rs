//! Launches: the server's own way to start a handler next to the usual ones, without any server.
//! Each launch has a pipe, reads the handler's output to its end, and reaps.

use crate::child::Child;
use crate::failure::Failure;
use crate::handler::{Handler, OUTPUT};
use crate::options::Options;
use crate::samples::{Samples, take_in_turn};
use crate::table;
use caffeine::testing::sys::confine::Bounds;
use caffeine::testing::sys::fd::{self, AsFd};
use caffeine::testing::sys::file::{self, Open};
use caffeine::testing::sys::launch::{Launcher, Plan, Pointers};
use caffeine::testing::sys::process::{self, Ended};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// USER_HZ is 100 on every architecture that Linux has had since 2.6.
const MICROS_PER_TICK: u64 = 10_000;

/// Environment of the handler, about as long as a small request's.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("REQUEST_METHOD", "GET"),
    ("SCRIPT_NAME", "/hello"),
];

/// Measures and prints.
pub(crate) fn run(options: &Options, handler: &Handler) -> Result<(), Failure> {
    let mut bare = BareLoop::new(handler.path())?;
    let path = handler.path();
    let [launcher, command, forked] = take_in_turn(
        options.few_rounds(),
        [
            &mut || bare.launch(),
            &mut || launch_by_command(path),
            &mut || launch_by_fork(path),
        ],
    )?;
    table::print_section("launch of the handler: pipe, start, read to the end, wait4");
    print("caffeine::sys::launch (the bare loop)", &launcher);
    print("std::process::Command (posix_spawn)", &command);
    print("fork and exec", &forked);
    print_cpu(&mut bare, options.few_rounds())
}

/// Prints the CPU time of one launch by the bare loop, handler included: what a server's request
/// is compared with. The launches stand in a row, because nothing else may run between two readings.
fn print_cpu(bare: &mut BareLoop, launches: usize) -> Result<(), Failure> {
    let before = cpu_ticks()?;
    for _ in 0..launches {
        bare.launch()?;
    }
    let ticks = cpu_ticks()?.saturating_sub(before);
    let count = u64::try_from(launches).unwrap_or(u64::MAX).max(1);
    let micros = ticks.saturating_mul(MICROS_PER_TICK) / count;
    let resolution = MICROS_PER_TICK.div_ceil(count);
    let rate = format!("{micros} µs CPU per launch, handler included (± {resolution})");
    table::print_rate("caffeine::sys::launch, CPU", &rate);
    Ok(())
}

/// Of this process and of the children that it has waited for; user and system.
fn cpu_ticks() -> Result<u64, Failure> {
    let unable = |why: &dyn std::fmt::Display| Failure::unable("read /proc/self/stat", why);
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(|e| unable(&e))?;
    // The name, in parentheses, may hold anything; utime is the 12th field behind it.
    let (_, fields) = stat
        .rsplit_once(')')
        .ok_or_else(|| unable(&"no program name in it"))?;
    let times = fields.split_ascii_whitespace().skip(11).take(4);
    let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>();
    ticks.map_err(|e| unable(&e))
}

fn print(name: &str, samples: &Samples) {
    let rate = format!("{:.0} launches/s", samples.per_second());
    table::print_row(name, samples, &rate);
}

/// What a worker does for each request, and nothing else.
struct BareLoop {
    launcher: Launcher,
    bounds: Bounds,
    program: CString,
    null: OwnedFd,
    argv: (Vec<u8>, Pointers),
    envp: (Vec<u8>, Vec<usize>, Pointers),
}

impl BareLoop {
    fn new(path: &Path) -> Result<Self, Failure> {
        let unable = |e| Failure::unable("set up the launcher", e);
        let program = CString::new(path.as_os_str().as_bytes())
            .map_err(|e| Failure::unable("name the handler", e))?;
        let (mut environment, mut offsets) = (Vec::new(), Vec::new());
        for (name, value) in ENVIRONMENT {
            offsets.push(environment.len());
            environment.extend_from_slice(format!("{name}={value}\0").as_bytes());
        }
        Ok(Self {
            launcher: Launcher::new().map_err(unable)?,
            bounds: Bounds::default(),
            argv: (program.as_bytes_with_nul().to_vec(), Pointers::default()),
            program,
            null: file::open_at(None, c"/dev/null", Open::Read).map_err(unable)?,
            envp: (environment, offsets, Pointers::default()),
        })
    }

    fn launch(&mut self) -> Result<Instant, Failure> {
        let unable = |why: &dyn std::fmt::Display| Failure::unable("launch the handler", why);
        let (read_end, write_end) = fd::pipe().map_err(|e| unable(&e))?;
        let (argv, argv_pointers) = &mut self.argv;
        let (envp, offsets, envp_pointers) = &mut self.envp;
        let plan = Plan {
            program: &self.program,
            argv: argv_pointers
                .fill(argv, &[0])
                .ok_or_else(|| unable(&"argv"))?,
            envp: envp_pointers
                .fill(envp, offsets)
                .ok_or_else(|| unable(&"envp"))?,
            folder: None,
            standard: [self.null.as_fd(), write_end.as_fd(), self.null.as_fd()],
            bounds: &self.bounds,
            ruleset: None,
        };
        let launched = self.launcher.launch(&plan);
        let pid = launched.map_err(|failure| unable(&failure.error))?;
        drop(write_end);
        let is_good = read_output(&read_end);
        let reaped = process::wait_for(pid).map_err(|e| unable(&e))?;
        let end = Instant::now();
        if let Some(failure) = self.launcher.failure() {
            return Err(unable(&failure.error));
        }
        judge(
            is_good && reaped.is_some_and(|reaped| reaped.ended == Ended::Exited(0)),
            end,
        )
    }
}

fn judge(is_good: bool, end: Instant) -> Result<Instant, Failure> {
    if is_good {
        Ok(end)
    } else {
        Err(Failure::wrong("the handler's output or exit status"))
    }
}

/// Reads until the handler has closed its stdout.
fn read_output(pipe: &OwnedFd) -> bool {
    let mut output = [0; 256];
    let mut len = 0;
    loop {
        let room = output.get_mut(len..).unwrap_or_default();
        match fd::read(pipe.as_fd(), room) {
            Ok(0) => return output.get(..len) == Some(OUTPUT),
            Ok(n) => len += n,
            Err(_) => return false,
        }
    }
}

fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn launch_by_command(path: &Path) -> Result<Instant, Failure> {
    let output = command(path)
        .output()
        .map_err(|e| Failure::unable("launch the handler", e))?;
    let end = Instant::now();
    judge(output.status.success() && output.stdout == OUTPUT, end)
}

/// The way of inetd, slowcgi and most CGI servers.
fn launch_by_fork(path: &Path) -> Result<Instant, Failure> {
    let unable = |e| Failure::unable("launch the handler", e);
    let (read_end, write_end) = fd::pipe().map_err(unable)?;
    let child = Child::fork(write_end.as_fd(), || {
        if fd::duplicate_onto(write_end.as_fd(), 1).is_ok() {
            // Returns only if it fails; then there is no output.
            let _ = command(path).exec();
        }
    })?;
    drop(write_end);
    let is_good = read_output(&read_end);
    let ended = child.wait()?;
    let end = Instant::now();
    judge(is_good && ended == Some(Ended::Exited(0)), end)
}
