//! A folder of handlers that is replaced under its name while the server serves, without a reload.

use super::confinement::jailed;
use super::harness::{Client, PATIENCE, Server, Setup, eventually, os, watch_for};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// By then the new folder must be served.
const TIME: Duration = Duration::from_secs(2);

/// Says where it runs and what it is told, one per line.
const WHERE: &str = "printf 'Content-Type: text/plain\\n\\n'; pwd -P; cat version; \
    echo $DOCUMENT_ROOT; echo $SCRIPT_FILENAME";

/// A version of the handlers.
fn release(server: &Server, name: &str) -> PathBuf {
    let write = |file: &str, text: &str, mode| {
        server.folder.write(&format!("{name}/{file}"), text, mode);
    };
    for folder in ["", "below/"] {
        let script = format!("#!/bin/sh\n{WHERE}\n");
        write(&format!("{folder}where"), &script, 0o755);
        write(&format!("{folder}version"), &format!("{name}\n"), 0o644);
    }
    write("own.conf", "workers = 2\n", 0o755);
    server.folder.at(name)
}

/// What `where` answers from a version in this folder.
fn answer(server: &Server, folder: &str, version: &str) -> String {
    let folder = server.folder.at(folder).display().to_string();
    format!("{folder}\n{version}\n{folder}\n{folder}/where\n")
}

/// Lets the link `current` lead to another version, at once as `ln -sfn` and a rename do.
fn switch(server: &Server, name: &str) {
    symlink(name, server.folder.at("next")).unwrap();
    fs::rename(server.folder.at("next"), server.folder.at("current")).unwrap();
}

/// A server of the link `current`, which leads to `one`.
fn deployed(args: &[&str], config: &str) -> Server {
    let mut setup = Setup::new();
    let at = |name: &str| setup.folder.at(name).display().to_string();
    let (path, config_path) = (at("current"), at("two/own.conf"));
    setup.folder.write("two/own.conf", config, 0o755);
    symlink("one", setup.folder.at("current")).unwrap();
    fs::create_dir(setup.folder.at("one")).unwrap();
    setup.args([
        &format!("--path={path}"),
        &format!("--config={config_path}"),
    ]);
    for arg in args {
        setup.args([arg]);
    }
    let server = setup.start();
    release(&server, "one");
    release(&server, "two");
    server
}

/// Asks until the answer is there, on the same connection.
#[track_caller]
fn expect_soon(client: &mut Client, path: &str, expected: &str) {
    let begun = Instant::now();
    eventually(PATIENCE, "it is the new one's", || {
        client.get(path).ok() == expected
    });
    assert!(begun.elapsed() < TIME, "{:?}", begun.elapsed());
}

#[test]
fn a_link_that_is_switched_is_seen_by_every_worker_and_kept_connection() {
    let server = deployed(&["--workers=3"], "workers = 3\n");
    let mut kept = server.connect();
    let (one, two) = (answer(&server, "one", "one"), answer(&server, "two", "two"));
    assert_eq!(kept.get("/where").ok(), one);
    assert_eq!(server.get("/own.conf").status, 500, "no configuration here");
    let workers = server.worker_pids();
    let switched = Instant::now();
    switch(&server, "two");
    expect_soon(&mut kept, "/where", &two);
    watch_for(TIME.saturating_sub(switched.elapsed()));
    for _ in 0..16 {
        assert_eq!(server.get("/where").ok(), two);
        assert_eq!(server.get("/own.conf").status, 404);
    }
    let below = server.get("/below/where").ok();
    assert!(below.contains("/two/below\ntwo\n"), "{below}");
    // And back, after some time without a request.
    watch_for(TIME / 2);
    switch(&server, "one");
    assert_eq!(kept.get("/where").ok(), one);
    assert_eq!(server.worker_pids(), workers, "nobody was replaced");
    assert_eq!(server.log().matches("is another folder now").count(), 2);
    // One that is forked later.
    switch(&server, "two");
    for worker in workers {
        os::kill(worker, os::KILL);
        eventually(PATIENCE, "it is replaced", || {
            let now = server.worker_pids();
            now.len() == 3 && !now.contains(&worker)
        });
    }
    assert_eq!(server.get("/where").ok(), two);
    server.stop();
}

#[test]
fn a_folder_that_is_gone_for_a_moment_is_served_until_another_one_is_there() {
    let server = Server::with(["--workers=4"]);
    let root = release(&server, "root");
    let mut kept = server.connect();
    assert_eq!(kept.get("/where").ok(), answer(&server, "root", "root"));
    let new = release(&server, "new");
    fs::rename(&root, server.folder.at("old")).unwrap();
    let moved = Instant::now();
    let mut count = 0;
    while moved.elapsed() < TIME {
        let mut others: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        for client in &mut others {
            client.send("GET /below/where HTTP/1.1\r\nHost: test\r\n\r\n");
        }
        for client in &mut others {
            assert!(client.response().ok().contains("/old/below\nroot\n"));
            count += 1;
        }
    }
    assert!(count > 8);
    fs::rename(new, &root).unwrap();
    expect_soon(&mut kept, "/where", &answer(&server, "root", "new"));
    let log = server.log();
    assert_eq!(log.matches("unable to look into").count(), 1, "{log}");
    assert_eq!(log.matches("is another folder now").count(), 1, "{log}");
    server.stop();
}

#[test]
fn a_sandbox_knows_the_handlers_of_the_new_folder() {
    if os::landlock_version() < 4 {
        return;
    }
    let config = "[handler /where]\nread = /usr, /lib, /bin\n";
    let server = deployed(&["--workers=1"], config);
    let mut kept = server.connect();
    // Its own file is all that it may read of the folder.
    let told = kept.get("/where").ok();
    assert!(
        told.ends_with("/one/where\n") && !told.contains("\none\n"),
        "{told}"
    );
    switch(&server, "two");
    eventually(TIME, "it is the new one's", || {
        kept.get("/where").ok().ends_with("/two/where\n")
    });
    server.stop();
}

#[test]
fn a_folder_is_replaced_inside_a_chroot_too() {
    if !os::is_root() {
        return;
    }
    let server = jailed();
    let mut kept = server.connect();
    assert_eq!(kept.get("/hostile/limits").status, 200);
    fs::rename(server.folder.at("root"), server.folder.at("old")).unwrap();
    fs::create_dir(server.folder.at("root")).unwrap();
    eventually(TIME, "the new one is empty", || {
        kept.get("/hostile/limits").status == 404
    });
    server.stop();
}
