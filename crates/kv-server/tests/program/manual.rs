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
fn bash_completes_options_and_their_values() {
    let script = printed("completions bash");
    for (words, expected) in [
        ("dev --no", "--nodes"),
        ("dev --engine e", "eventual"),
        ("dev --w m", "majority"),
        ("--fsync n", "never"),
        ("--log d", "debug"),
        ("1 lin", "linearizability"),
    ] {
        let words: Vec<&str> = ["kv-server"].into_iter().chain(words.split(' ')).collect();
        let ask = format!(
            "COMP_WORDS=({}); COMP_CWORD={}; \
             $(complete -p kv-server | sed 's/.*-F \\([^ ]*\\).*/\\1/') kv-server '{}' '{}'; \
             echo \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let script = format!("{script}\n{ask}");
        let bash = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(bash.stdout).unwrap(), format!("{expected}\n"), "{words:?}");
    }
}

#[test]
fn help_ends_its_lines_at_the_ends_of_words() {
    for words in ["--help", "-h", "dev --help", "backup --help"] {
        let help = printed(words);
        let longest = help.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= 100, "{words}: {longest}");
    }
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
