//! One server with its folder of handlers, in a temporary folder that goes when this goes.

use crate::args::Options;
use crate::{Result, handler, process, sys};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The handler of the normal load.
const TINY: &str = r#"#include <unistd.h>
int main(void) {
    static const char answer[] = "Content-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
    return write(1, answer, sizeof answer - 1) < 0;
}
"#;

/// Where no compiler is.
const TINY_SH: &str =
    "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\nContent-Length: 6\\r\\n\\r\\nhello\\n'\n";

/// The server's folder for temporary files.
const SPOOLS: &str = "spools";

/// A running server.
pub struct Server {
    child: Child,
    /// The one that has taken over, after an upgrade.
    successor: Option<i32>,
    folder: PathBuf,
    pub address: SocketAddr,
}

/// The status line.
pub struct Status(HashMap<String, String>);

impl Status {
    /// A number of it; 0 if it is not there.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|v| v.parse().ok()).unwrap_or(0)
    }
}

fn write_executable(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The first compiler that works makes the tiny handler; a static one starts fastest.
fn make_tiny(folder: &Path, handlers: &Path) -> Result<()> {
    let source = folder.join("tiny.c");
    fs::write(&source, TINY)?;
    for (compiler, flags) in [("musl-gcc", &["-static", "-O2"][..]), ("cc", &["-O2"])] {
        let mut command = Command::new(compiler);
        command.args(flags).arg("-o").arg(handlers.join("tiny"));
        command
            .arg(&source)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return Ok(());
        }
    }
    write_executable(&handlers.join("tiny"), TINY_SH.as_bytes())
}

fn make_folder() -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("slow-clients-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder)?;
    fs::create_dir(folder.join("handlers"))?;
    fs::create_dir(folder.join("runs"))?;
    fs::create_dir(folder.join(SPOOLS))?;
    make_tiny(&folder, &folder.join("handlers"))?;
    let own = fs::read(std::env::current_exe()?)?;
    for name in handler::NAMES {
        write_executable(&folder.join("handlers").join(name), &own)?;
    }
    Ok(folder)
}

/// The address in the log's first lines.
fn find_address(log: &Path, child: &mut Child) -> Result<SocketAddr> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let text = fs::read_to_string(log).unwrap_or_default();
        let after = text.split("http://").nth(1).unwrap_or_default();
        let word = after.split_whitespace().next();
        if let Some(address) = word.filter(|_| after.contains('\n')) {
            return Ok(address.trim_end_matches('/').parse()?);
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("the server does not start ({status}): {text}").into());
        }
        sleep(Duration::from_millis(10));
    }
    Err("the server does not say where it listens".into())
}

impl Server {
    /// Starts one with 4 workers on loopback and these further options.
    pub fn start(options: &Options, more: &[&str]) -> Result<Self> {
        Self::start_with(options, more, "")
    }

    /// The same with this configuration file.
    pub fn start_with(options: &Options, more: &[&str], config: &str) -> Result<Self> {
        let folder = make_folder()?;
        fs::write(folder.join("config"), config)?;
        let mut command = Command::new(&options.caffeine);
        command.arg("--path").arg(folder.join("handlers"));
        for (option, name) in [
            ("--socket", "socket"),
            ("--pid-file", "pid"),
            ("--log-file", "log"),
            ("--config", "config"),
        ] {
            command.arg(option).arg(folder.join(name));
        }
        command.args(["--bind", "127.0.0.1", "--port", "0"]);
        if !more.contains(&"--workers") {
            command.args(["--workers", "4"]);
        }
        let runs = format!("{}={}", handler::RUNS, folder.join("runs").display());
        command.args(["--env", &runs]).args(more);
        command.env("HOME", &folder).current_dir(&folder);
        command.env("TMPDIR", folder.join(SPOOLS));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        sys::end_with_parent(&mut command);
        let mut child = command.spawn()?;
        let address = match find_address(&folder.join("log"), &mut child) {
            Ok(address) => address,
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                let _ = fs::remove_dir_all(&folder);
                return Err(why);
            }
        };
        Ok(Self {
            child,
            successor: None,
            folder,
            address,
        })
    }

    /// The parent's process id.
    pub fn pid(&self) -> i32 {
        self.successor
            .unwrap_or(i32::try_from(self.child.id()).unwrap_or(0))
    }

    /// The parent's process id as the pid file has it: another one after an upgrade.
    pub fn pid_now(&self) -> i32 {
        let text = fs::read_to_string(self.folder.join("pid")).unwrap_or_default();
        text.trim().parse().unwrap_or(self.pid())
    }

    /// After upgrades: the server is who has taken over.
    pub fn follow(&mut self) {
        let now = self.pid_now();
        self.successor = (now != self.pid()).then_some(now).or(self.successor);
    }

    /// Whether the parent has ended, and with status 0. This process is its parent, since it is a
    /// subreaper where there are upgrades.
    fn has_ended(&mut self) -> Result<Option<bool>> {
        // One that a successor has followed goes on its own.
        let child = self.child.try_wait()?;
        match self.successor {
            Some(successor) => Ok(sys::reap(successor)?
                .map(|is_good| is_good && child.is_some_and(|status| status.success()))),
            None => Ok(child.map(|status| status.success())),
        }
    }

    /// Who ran the request with this id: handlers and their workers.
    pub fn note(&self, id: &str) -> Vec<(i32, i32)> {
        let path = self.folder.join("runs").join(format!("note-{id}"));
        let text = fs::read_to_string(path).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs
            .filter_map(|(own, worker)| Some((own.parse().ok()?, worker.parse().ok()?)))
            .collect()
    }

    /// Nobody will ask for that note.
    pub fn forget_note(&self, id: &str) {
        let _ = fs::remove_file(self.folder.join("runs").join(format!("note-{id}")));
    }

    /// Shows every line of the log, and of those that were moved away.
    pub fn each_log_line(&self, mut show: impl FnMut(&str)) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let logs = entries.filter(|e| e.file_name().as_encoded_bytes().starts_with(b"log"));
        for file in logs.filter_map(|log| fs::File::open(log.path()).ok()) {
            for line in BufReader::new(file).lines().map_while(|line| line.ok()) {
                show(&line);
            }
        }
    }

    /// Its workers' process ids.
    pub fn workers(&self) -> Vec<i32> {
        process::workers(self.pid())
    }

    /// Asks for the status.
    pub fn status(&self) -> Result<Status> {
        let mut socket = UnixStream::connect(self.folder.join("socket"))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(b"status\n")?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line)?;
        let pairs = line.split_whitespace().filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Ok(Status(pairs.collect()))
    }

    /// Waits until the status is as wanted; false if it was not in time.
    pub fn wait_for(&self, time: Duration, wanted: impl Fn(&Status) -> bool) -> Result<bool> {
        let deadline = Instant::now() + time;
        loop {
            if wanted(&self.status()?) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// How often the handler `once` ran with this id.
    pub fn runs(&self, id: &str) -> u64 {
        fs::metadata(self.folder.join("runs").join(id)).map_or(0, |note| note.len())
    }

    /// What it has left in its folders, after its end.
    pub fn left_behind(&self) -> Vec<PathBuf> {
        let own = ["pid", "socket"].map(|name| self.folder.join(name));
        let own = own.into_iter().filter(|path| path.exists());
        let spools = fs::read_dir(self.folder.join(SPOOLS));
        let spools = spools.into_iter().flatten().flatten();
        own.chain(spools.map(|entry| entry.path())).collect()
    }

    /// The server's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lines of the log at level ERROR.
    pub fn errors(&self) -> Vec<String> {
        let text = fs::read(self.folder.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter(|line| line.contains(" ERROR ["));
        lines.map(str::to_owned).collect()
    }

    /// Lines of the log with this text.
    pub fn count_in_log(&self, text: &str) -> u64 {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let found = log.lines().filter(|line| line.contains(text));
        u64::try_from(found.count()).unwrap_or(u64::MAX)
    }

    /// Ends it as its user would; true if it and all that it started are gone, with status 0.
    pub fn stop(&mut self) -> Result<bool> {
        let below = process::descendants(self.pid());
        sys::kill(self.pid(), sys::SIGTERM)?;
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if let Some(is_good) = self.has_ended()? {
                let is_left = |pid: &i32| process::rss_kib(*pid) > 0;
                return Ok(is_good && !below.iter().any(is_left));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(false)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.follow();
        if let Some(successor) = self
            .successor
            .filter(|successor| sys::reap(*successor).is_ok_and(|e| e.is_none()))
        {
            let _ = sys::kill(successor, sys::SIGKILL);
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::env::var_os("SLOW_CLIENTS_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
