//! Greets on GET, gives a body back on POST. Only the standard library:
//! `rustc -O -o ~/.config/caffeine/hello hello.rs`

use std::env;
use std::io::{self, Write};

fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn echo(out: &mut impl Write) -> io::Result<()> {
    let kind = variable("CONTENT_TYPE").unwrap_or("application/octet-stream".into());
    let length = variable("CONTENT_LENGTH").unwrap_or("0".into());
    write!(out, "Content-Type: {kind}\nContent-Length: {length}\n\n")?;
    io::copy(&mut io::stdin().lock(), out)?;
    Ok(())
}

fn greet(out: &mut impl Write, method: &str) -> io::Result<()> {
    write!(out, "Content-Type: text/plain; charset=utf-8\n\n")?;
    writeln!(out, "Hello from Rust.")?;
    writeln!(out, "method: {method}")?;
    for (label, name) in [("path info", "PATH_INFO"), ("query", "QUERY_STRING")] {
        writeln!(out, "{label}: {}", variable(name).unwrap_or_default())?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    match variable("REQUEST_METHOD").as_deref() {
        Some("POST") => echo(&mut out)?,
        method => greet(&mut out, method.unwrap_or("GET"))?,
    }
    out.flush()
}
