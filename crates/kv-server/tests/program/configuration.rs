//! Settings from a file, the environment and the command line together.

use crate::run::{kv_server, output};

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

    let mut command = kv_server("config");
    command.env("KV_MEMORY", "maybe");
    let (code, out, error) = output(command);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(error.contains("maybe") && error.contains("--memory"), "{error}");

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
         list more servers (--servers)\n"
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

#[test]
fn an_empty_variable_counts_as_not_set() {
    let mut command = kv_server("config");
    for name in kv_cli::environment::NAMES {
        command.env(name, "");
    }
    let (code, printed, error) = output(command);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let set = printed.lines().filter(|line| line.contains("# KV_"));
    assert_eq!(set.count(), 0, "{printed}");
    assert_eq!(line(&printed, "# listen"), "# listen = # not set");
}

#[test]
fn an_unknown_variable_is_named_with_the_nearest_one() {
    let mut command = kv_server("config");
    command.env("KV_SERVER", "1-3").env("KV_WW", "2").env("KV_TIMEOUT", "5s");
    command.env("KV_PORT", "tcp://10.0.0.1:4961").env("KV_SERVICE_PORT_CLIENTS", "4961");
    let (code, _, error) = output(command);
    let says = |name, nearest| {
        format!(
            "kv-server: {name} is set but is no known setting, and is ignored; did you mean \
             {nearest}?\n"
        )
    };
    assert_eq!((code, error), (Some(0), says("KV_SERVER", "KV_SERVERS") + &says("KV_WW", "KV_W")));
}

#[test]
fn options_may_stand_before_a_subcommand() {
    let file = file("w = 2\nservers = \"1-3\"\n");
    let path = file.path().display();
    let (code, printed, error) = output(kv_server(&format!("--config {path} --r 2 config")));
    assert_eq!((code, error.lines().count()), (Some(2), 1), "--r is an argument: {error}");
    assert_eq!(printed, "");
    let (code, printed, error) = output(kv_server(&format!("--config {path} config 2")));
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(line(&printed, "w ="), format!("w = 2 # {path}:1"));
    assert_eq!(line(&printed, "id ="), "id = 2 # argument ID");
}
