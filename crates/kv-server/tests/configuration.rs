//! Settings from a file, the environment and the command line together.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod program;

use program::{kv_server, output};

/// A file with these lines, in a folder that goes when it is dropped.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn line(printed: &str, name: &str) -> String {
    let line = printed.lines().find(|line| line.starts_with(name)).unwrap_or(printed);
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_environment_stands_between_the_file_and_the_flags() {
    let file = file("id = 2\nw = 2\nr = 2\ncluster = \"of-file\"\n");
    let path = file.path().display();
    let mut command = kv_server("config --cluster of-flag");
    command.env("KV_CONFIG", file.path()).env("KV_R", "3").env("KV_CLUSTER", "of-env");
    let (code, printed, error) = output(command);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(line(&printed, "w ="), format!("w = 2 # {path}:2"));
    assert_eq!(line(&printed, "r ="), "r = 3 # KV_R");
    assert_eq!(line(&printed, "cluster"), "cluster = \"of-flag\" # --cluster");
    assert_eq!(line(&printed, "clients_max"), "clients_max = 1024 # default");
}

#[test]
fn no_file_is_read_unless_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["kv.toml", "kv-server.toml", "config.toml"] {
        std::fs::write(folder.path().join(name), "this is no TOML").unwrap();
    }
    let mut command = kv_server("config");
    command.current_dir(folder.path());
    let (code, printed, _) = output(command);
    assert_eq!(code, Some(0));
    assert!(!printed.contains("toml:"), "{printed}");
}

#[test]
fn mistakes_are_one_line_wherever_they_are() {
    let unknown = file("w = 1\nlisen = \"[::]:4961\"\n");
    let path = unknown.path().display();
    let (code, out, error) = output(kv_server(&format!("--config {path}")));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    let expected = format!(
        "kv-server: {path}:2: there is no setting `lisen`, did you mean `listen`?; `kv-server \
         config` shows all\n"
    );
    assert_eq!(error, expected);

    let (code, _, error) = output(kv_server("--config no-such-file.toml"));
    assert_eq!(code, Some(2));
    assert!(error.starts_with("kv-server: cannot read no-such-file.toml: No such file"), "{error}");

    let mut command = kv_server("");
    command.env("KV_CLIENTS_MAX", "many");
    let (code, _, error) = output(command);
    assert_eq!(code, Some(2));
    assert!(error.starts_with("kv-server: KV_CLIENTS_MAX=`many` in the environment: "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn settings_that_make_no_server_are_shown_and_refused() {
    let (code, printed, error) = output(kv_server("config 1 eventual 4 1 --servers 1-3"));
    assert_eq!(code, Some(2));
    assert_eq!(line(&printed, "w ="), "w = 4 # argument W");
    assert_eq!(
        error,
        "kv-server: argument W: a quorum of 4 servers cannot be had: the cluster has 3; ask for fewer, or \
         add servers to --servers\n"
    );
}

#[test]
fn a_quorum_that_cannot_be_had_is_reported_where_it_is_asked_for() {
    let file = file("servers = \"1-3\"\nw = 9\n");
    let path = file.path().display();
    let reason = "a quorum of 9 servers cannot be had: the cluster has 3";
    let (code, _, error) = output(kv_server(&format!("--config {path}")));
    assert_eq!(code, Some(2));
    assert!(error.starts_with(&format!("kv-server: {path}:2: `w`: {reason}")), "{error}");

    let mut command = kv_server("--servers 1-3");
    command.env("KV_R", "9");
    let (code, _, error) = output(command);
    assert_eq!(code, Some(2));
    assert!(error.starts_with(&format!("kv-server: KV_R: {reason}")), "{error}");
}
