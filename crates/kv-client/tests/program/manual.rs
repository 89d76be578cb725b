//! Completions for shells, and the page of the manual.

use crate::fake::DeadServer;
use crate::fake::program::{finish, program};

async fn printed(args: &[&str]) -> String {
    let run = finish(program([DeadServer::new(1).entry()], args).spawn().unwrap()).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    run.stdout
}

#[tokio::test]
async fn shells_learn_commands_and_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]).await;
        for word in ["delete", "scan", "bench", "servers", "read-percent"] {
            assert!(script.contains(word), "{shell} does not learn {word}");
        }
    }
}

#[tokio::test]
async fn the_manual_names_every_option_of_the_help() {
    let page = printed(&["man"]).await.replace("\\-", "-");
    for command in [&["--help"][..], &["bench", "--help"]] {
        let help = printed(command).await;
        let options = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        let options: Vec<&str> =
            options.filter(|word| word.starts_with("--") || word.starts_with("KV_")).collect();
        assert!(options.len() > 8, "{help}");
        for option in options {
            assert!(page.contains(option), "{option} is missing");
        }
    }
    assert!(page.contains("scan [PREFIX]") && page.contains("Exit codes: 0 done"), "{page}");
}

#[tokio::test]
async fn an_unknown_shell_is_a_mistake() {
    let at = DeadServer::new(1).entry();
    let run = finish(program([at], &["completions", "tcsh"]).spawn().unwrap()).await;
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.starts_with("invalid value 'tcsh' for '<SHELL>'"), "{run:?}");
    assert!(run.stderr.contains("bash") && run.stderr.lines().count() == 1, "{run:?}");
}

/// Asks bash itself what it would offer.
#[tokio::test]
async fn bash_completes_commands_and_their_options() {
    let script = printed(&["completions", "bash"]).await;
    for (words, expected) in [
        (vec!["sta"], "status"),
        (vec!["2", "sta"], "status"),
        (vec!["get", "--ra"], "--raw"),
        (vec!["put", "--if-v"], "--if-version --if-value"),
        (vec!["2", "get", "x", "--j"], "--json"),
        (vec!["bench", "--co"], "--connections"),
        (vec!["completions", "z"], "zsh"),
        (vec!["help", "sc"], "scan"),
    ] {
        let line = format!(
            "{script}\nCOMP_WORDS=(kv-client {}); COMP_CWORD={}; _kv__client kv-client {} '{}'; \
             echo \"${{COMPREPLY[*]}}\"",
            words.join(" "),
            words.len(),
            words.last().unwrap(),
            words.iter().rev().nth(1).unwrap_or(&"kv-client"),
        );
        let ended = tokio::process::Command::new("bash").args(["--norc", "-c", &line]).output();
        let ended = ended.await.unwrap();
        assert_eq!(String::from_utf8(ended.stdout).unwrap().trim(), expected, "{words:?}");
    }
}
