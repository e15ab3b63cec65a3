//! What /proc says of the server's processes.

use std::fs;

/// A process as it is now; numbers of one that has gone are 0.
pub fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Resident memory in KiB.
pub fn rss_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Fields of /proc/PID/stat after the name.
fn stat(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rfind(')').map_or("", |at| &text[at + 1..]);
    after.split_whitespace().map(str::to_owned).collect()
}

/// CPU time in ticks of 10 ms, user and system.
pub fn cpu_ticks(pid: i32) -> u64 {
    let stat = stat(pid);
    let field = |n: usize| -> u64 { stat.get(n).and_then(|f| f.parse().ok()).unwrap_or(0) };
    field(11) + field(12)
}

fn name(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// All processes with their parents.
fn all() -> Vec<(i32, i32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let parent = stat(pid).get(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

/// Every process below this one.
pub fn descendants(root: i32) -> Vec<i32> {
    let all = all();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let children = all.iter().filter(|(_, p)| *p == parent);
        found.extend(children.map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

/// Its children.
pub fn children(parent: i32) -> Vec<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|w| w.parse().ok())
        .collect()
}

/// Descriptors that lead to memory files.
pub fn memory_files(pid: i32) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let links = entries
        .flatten()
        .filter_map(|e| fs::read_link(e.path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("/memfd:"))
        .count()
}

/// Descendants that have ended and that nobody has taken in.
pub fn zombies(root: i32) -> usize {
    let is_zombie = |pid: &i32| stat(*pid).first().is_some_and(|state| state == "Z");
    descendants(root)
        .iter()
        .filter(|pid| is_zombie(pid))
        .count()
}

/// The workers of a server.
pub fn workers(server: i32) -> Vec<i32> {
    let path = format!("/proc/{server}/task/{server}/children");
    let children = match fs::read_to_string(path) {
        Ok(text) => text
            .split_whitespace()
            .filter_map(|w| w.parse().ok())
            .collect(),
        Err(_) => descendants(server),
    };
    let is_worker = |pid: &i32| name(*pid) == "caffeine-worker";
    children.into_iter().filter(is_worker).collect()
}
