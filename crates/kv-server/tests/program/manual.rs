//! Completions for shells, and the page of the manual.

use std::process::Command;

use crate::run::{kv_server, output};

fn printed(words: &str) -> String {
    let (code, printed, error) = output(kv_server(words));
    assert_eq!((code, error.as_str()), (Some(0), ""), "{words}");
    printed
}

#[test]
fn shells_learn_commands_and_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&format!("completions {shell}"));
        for word in ["dev", "config", "completions", "clients-max", "nodes"] {
            assert!(script.contains(word), "{shell} does not learn {word}");
        }
    }
    let (code, _, error) = output(kv_server("completions tcsh"));
    assert_eq!(code, Some(2));
    assert!(error.contains("tcsh") && error.lines().count() == 1, "{error}");
}

/// Asks bash itself what it would offer.
#[test]
fn bash_completes_an_option() {
    let ask = "COMP_WORDS=(kv-server dev --no); COMP_CWORD=2; \
               $(complete -p kv-server | sed 's/.*-F \\([^ ]*\\).*/\\1/') kv-server --no dev; \
               echo \"${COMPREPLY[@]}\"";
    let script = format!("{}\n{ask}", printed("completions bash"));
    let bash = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8(bash.stdout).unwrap(), "--nodes\n");
}

#[test]
fn the_manual_names_every_option_of_the_help() {
    let page = printed("man").replace("\\-", "-");
    for words in ["--help", "dev --help"] {
        let help = printed(words);
        let options = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        let options: Vec<&str> =
            options.filter(|word| word.starts_with("--") || word.starts_with("KV_")).collect();
        assert!(options.len() > 8, "{help}");
        for option in options {
            assert!(page.contains(option), "{option} is missing");
        }
    }
}
