//! Completions for shells, and the page of the manual.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use fake::DeadServer;
use fake::program::{finish, program};

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

/// Asks bash itself what it would offer.
#[tokio::test]
async fn bash_completes_a_command() {
    let script = printed(&["completions", "bash"]).await;
    let ask = "COMP_WORDS=(kv-client sta); COMP_CWORD=1; \
               $(complete -p kv-client | sed 's/.*-F \\([^ ]*\\).*/\\1/') kv-client sta kv-client; \
               echo \"${COMPREPLY[@]}\"";
    let bash = tokio::process::Command::new("bash")
        .args(["--norc", "-c", &format!("{script}\n{ask}")])
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8(bash.stdout).unwrap(), "status\n");
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
