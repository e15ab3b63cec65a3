//! A server of one's own: the real binary, in a folder with its own handlers, socket, pid file and
//! log.

use super::folder::{Folder, no_forks};
use super::seccomp::{self, Call, Denial};
use super::{Client, PATIENCE, Response, eventually, eventually_none, os};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Files that a server makes and has to remove.
const FILES: [&str; 2] = ["pid", "socket"];

/// A server to be started.
pub(crate) struct Setup {
    pub(crate) folder: Folder,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// What the server's starter listens with in its place.
    given: Option<OwnedFd>,
    /// The words of a command that becomes the server, before the server's own.
    within: Vec<String>,
    /// A program of its own, which a test may replace.
    program: Option<PathBuf>,
    /// Calls that fail for it.
    denied: Vec<Denial>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let at = |name: &str| folder.at(name).display().to_string();
        let mut args = vec![
            format!("--path={}", at("root")),
            format!("--socket={}", at("socket")),
            format!("--pid-file={}", at("pid")),
            format!("--log-file={}", at("log")),
            "--bind=127.0.0.1".into(),
            "--port=0".into(),
        ];
        // Else only root finds out about the server's processes, and no leak checker can work.
        if !os::is_root() || std::env::var_os("ASAN_OPTIONS").is_some() {
            args.push("--traceable".into());
        }
        Self {
            folder,
            args,
            env: Vec::new(),
            given: None,
            within: Vec::new(),
            program: None,
            denied: Vec::new(),
        }
    }

    /// Runs a copy of the binary, called `caffeine` in the folder.
    pub(crate) fn copy_program(&mut self) -> &mut Self {
        let bytes = std::fs::read(env!("CARGO_BIN_EXE_caffeine")).unwrap();
        self.program = Some(self.folder.write("caffeine", bytes, 0o755));
        self
    }

    /// Starts it by a command that ends in exec, such as prlimit(1).
    pub(crate) fn within(&mut self, words: &[&str]) -> &mut Self {
        self.within = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts the server as the service manager does that listens with this socket.
    pub(crate) fn activate(&mut self, listener: impl Into<OwnedFd>) -> &mut Self {
        self.given = Some(listener.into());
        self
    }

    /// Adds options; one that the harness has given already is replaced.
    pub(crate) fn args<const N: usize>(&mut self, args: [&str; N]) -> &mut Self {
        for arg in args {
            let name = arg.split('=').next().unwrap_or(arg);
            self.args
                .retain(|old| old.split('=').next() != Some(name) || name == "--bind");
            self.args.push(arg.to_owned());
        }
        self
    }

    /// Takes an option away that the harness has given.
    pub(crate) fn without(&mut self, name: &str) -> &mut Self {
        self.args.retain(|old| old.split('=').next() != Some(name));
        self
    }

    pub(crate) fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Makes a system call fail for it.
    pub(crate) fn deny(&mut self, call: Call, errno: i32) -> &mut Self {
        self.denied.push((call, errno));
        self
    }

    /// Writes the configuration file and uses it.
    pub(crate) fn config(&mut self, text: &str) -> &mut Self {
        let path = self.folder.write("caffeine.conf", text, 0o644);
        self.args([&format!("--config={}", path.display())])
    }

    /// The command that starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = command(&self.folder);
        if let Some(program) = &self.program {
            command = bare(Command::new(program), &self.folder);
        }
        if let Some((program, words)) = self.within.split_first() {
            command = bare(Command::new(program), &self.folder);
            command.args(words).arg(env!("CARGO_BIN_EXE_caffeine"));
        }
        if let Some(given) = &self.given {
            let program = command.get_program().to_owned();
            let with_fd =
                "exec 3<&0 0</dev/null; LISTEN_FDNAMES=web LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
            let mut shell = Command::new("sh");
            shell.envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            shell.current_dir(self.folder.path());
            shell.args(["-c", with_fd, "sh"]).arg(program);
            shell.stdin(given.try_clone().unwrap());
            command = shell;
        }
        command.args(&self.args).envs(self.env.iter().cloned());
        seccomp::deny(&mut command, &self.denied);
        command
    }

    /// Runs it to its end, as a start that fails does.
    pub(crate) fn run(&self) -> Output {
        run(&mut self.command())
    }

    /// Starts it and waits until it serves.
    pub(crate) fn start(self) -> Server {
        let mut command = self.command();
        command.stdout(Stdio::null());
        let mut child = spawn(command.stderr(Stdio::piped()));
        let stderr = Stderr::of(child.stderr.take().unwrap());
        let mut server = Server {
            folder: self.folder,
            pid: child.id().into(),
            child: Some(child),
            port: 0,
            stderr,
        };
        server.port = server.wait_for_port();
        server
    }
}

/// The binary, with nothing of the test's environment but what programs need.
pub(crate) fn command(folder: &Folder) -> Command {
    bare(Command::new(env!("CARGO_BIN_EXE_caffeine")), folder)
}

fn bare(mut command: Command, folder: &Folder) -> Command {
    command
        .stdin(Stdio::null())
        .env_clear()
        .env("HOME", folder.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(folder.path());
    // tools/sanitize.sh collects the reports of all processes by it.
    let sanitizer = std::env::var_os("ASAN_OPTIONS");
    command.envs(sanitizer.map(|options| ("ASAN_OPTIONS", options)));
    let denied = seccomp::denied_by_environment();
    seccomp::deny(&mut command, &denied);
    command
}

/// Starts a process. Every test does it so: see `no_forks`.
pub(crate) fn spawn(command: &mut Command) -> Child {
    let _lock = no_forks();
    command.spawn().unwrap()
}

/// Whether there is such a program.
pub(crate) fn can_run(command: &mut Command) -> bool {
    let _lock = no_forks();
    command.output().is_ok()
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let pid = child.id();
    let waiting = thread::spawn(move || child.wait_with_output().unwrap());
    let start = std::time::Instant::now();
    while !waiting.is_finished() {
        if start.elapsed() > PATIENCE {
            os::kill(pid, os::KILL);
            panic!("{command:?} does not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
    waiting.join().unwrap()
}

/// The lines that a server has written to stderr.
struct Stderr {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Stderr {
    fn of(pipe: std::process::ChildStderr) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        let reader = Some(reader);
        Self { lines, reader }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn is_closed(&self) -> bool {
        self.reader
            .as_ref()
            .is_none_or(|reader| reader.is_finished())
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) folder: Folder,
    pid: AtomicU32,
    child: Option<Child>,
    pub(crate) port: u16,
    stderr: Stderr,
}

impl Server {
    /// A server with all defaults.
    pub(crate) fn new() -> Self {
        Setup::new().start()
    }

    /// A server with these options.
    pub(crate) fn with<const N: usize>(args: [&str; N]) -> Self {
        Self::start(|setup| {
            setup.args(args);
        })
    }

    /// A server that needs more than options.
    pub(crate) fn start(prepare: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new();
        prepare(&mut setup);
        setup.start()
    }

    fn wait_for_port(&self) -> u16 {
        let mut port = None;
        eventually(PATIENCE, "the server says its address", || {
            let lines = self.stderr.lines();
            port = lines.iter().find_map(|line| port_in(line));
            assert!(
                port.is_some() || !self.stderr.is_closed(),
                "the server ended: {lines:#?}"
            );
            port.is_some()
        });
        port.unwrap_or(0)
    }

    /// The parent's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Another process is the server now.
    pub(crate) fn follow(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// The workers' process ids.
    pub(crate) fn worker_pids(&self) -> Vec<u32> {
        os::children(self.pid())
    }

    /// Adds a handler: a shell script without its first line.
    pub(crate) fn handler(&self, name: &str, script: &str) {
        self.file(name, &format!("#!/bin/sh\n{script}\n"), 0o755);
    }

    /// Adds a file to the folder with the handlers.
    pub(crate) fn file(&self, name: &str, text: &str, mode: u32) {
        self.folder.write(&format!("root/{name}"), text, mode);
    }

    /// What a handler has written into a file of the folder with the handlers.
    pub(crate) fn read(&self, name: &str) -> String {
        self.folder.read(&format!("root/{name}"))
    }

    /// Waits until a handler has written a line into that file, and returns its first line.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, name: &str) -> String {
        let what = format!("a line in {name}");
        eventually(PATIENCE, &what, || self.read(name).contains('\n'));
        self.read(name).lines().next().unwrap().to_owned()
    }

    /// The log as it is.
    pub(crate) fn log(&self) -> String {
        self.folder.read("log")
    }

    /// Waits until the log contains this.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, part: &str) {
        let start = std::time::Instant::now();
        while !self.log().contains(part) {
            let log = self.log();
            assert!(start.elapsed() < PATIENCE, "no {part:?} in the log:\n{log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the server says of itself at its control socket.
    #[track_caller]
    pub(crate) fn status(&self) -> String {
        let mut socket = UnixStream::connect(self.folder.at("socket")).unwrap();
        socket.write_all(b"status\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    }

    /// One word of its first line.
    #[track_caller]
    pub(crate) fn status_of(&self, key: &str) -> String {
        let status = self.status();
        let words = status.lines().next().unwrap_or_default().split(' ');
        let mut pairs = words.filter_map(|word| word.split_once('='));
        let found = pairs.find(|(name, _)| *name == key);
        found.map(|(_, value)| value.to_owned()).unwrap()
    }

    /// Lines on stderr so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.connect().get(path)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        let mut client = self.connect();
        client.send(request);
        client.response()
    }

    /// Sends the parent a signal.
    pub(crate) fn signal(&self, signal: i32) {
        assert!(os::kill(self.pid(), signal), "the server is gone");
    }

    /// Has the server replaced by a new one, and waits until that serves: its process id.
    #[track_caller]
    pub(crate) fn upgrade(&self) -> u32 {
        let old = self.pid();
        self.signal(os::USR2);
        let mut new = old;
        eventually(PATIENCE, "the new server has the pid file", || {
            new = self.folder.read("pid").trim().parse().unwrap_or(old);
            assert!(!self.log().contains("unable to upgrade"), "{}", self.log());
            new != old
        });
        self.follow(new);
        new
    }

    /// After `upgrade`: waits for the end of the server that was started, exit status 0.
    #[track_caller]
    pub(crate) fn expect_end_of_old(&mut self) {
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}: {:#?}", self.stderr());
    }

    /// Waits for the parent's end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        eventually(PATIENCE, "the server ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Stops it, and sees that nothing is left.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(os::TERM);
        self.expect_clean_end();
    }

    /// After a signal that stops it: exit status 0, no process, no file.
    #[track_caller]
    pub(crate) fn expect_clean_end(&mut self) {
        if self.child.is_some() {
            let status = self.wait();
            assert_eq!(status.code(), Some(0), "{status}: {:#?}", self.stderr());
        }
        eventually(PATIENCE, "the server ends", || !os::is_alive(self.pid()));
        self.expect_nothing_left();
    }

    #[track_caller]
    pub(crate) fn expect_nothing_left(&self) {
        let second = Duration::from_secs(1);
        eventually_none(second, "processes", || self.folder.processes());
        eventually(second, "stderr is closed", || self.stderr.is_closed());
        for name in FILES {
            assert!(!self.folder.at(name).exists(), "{name} is left");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("log of the server:\n{}", self.log());
        }
    }
}

/// The port behind `127.0.0.1:` in the start line.
fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
