//! What each command does, in words.

use super::words::as_word;

/// A command for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommandHelp {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) usage: &'static str,
    /// Whether its first word is a key.
    pub(crate) has_key: bool,
    /// The options of this command alone.
    pub(crate) options: &'static [&'static str],
    pub(crate) summary: &'static str,
    pub(crate) details: &'static str,
}

/// All commands, in the order in which `help` lists them.
pub(crate) const COMMANDS: &[CommandHelp] = &[
    CommandHelp {
        name: "get",
        aliases: &[],
        usage: "get KEY [--r N|majority|all]",
        has_key: true,
        options: &["--r"],
        summary: "read a key",
        details: "--r sets R, how many servers must answer, for this read alone (eventual engine).",
    },
    CommandHelp {
        name: "put",
        aliases: &["set"],
        usage: "put KEY VALUE [--w N|majority|all]",
        has_key: true,
        options: &["--w"],
        summary: "write a key",
        details: "--w sets W, how many servers must hold it, for this write alone (eventual \
                  engine).\nAs one command of the program, `put KEY -` takes the value from the \
                  standard input.",
    },
    CommandHelp {
        name: "delete",
        aliases: &["del", "rm"],
        usage: "delete KEY [--w N|majority|all]",
        has_key: true,
        options: &["--w"],
        summary: "remove a key",
        details: "A missing key is no error. --w sets W for this delete alone (eventual engine).",
    },
    CommandHelp {
        name: "cas",
        aliases: &[],
        usage: "cas KEY OLD NEW",
        has_key: true,
        options: &[],
        summary: "write a key if it has the value OLD",
        details: "Linearizable engine only.",
    },
    CommandHelp {
        name: "incr",
        aliases: &[],
        usage: "incr KEY [N]",
        has_key: true,
        options: &[],
        summary: "add N, or 1, to the number that a key holds",
        details: "A missing key counts as 0. Linearizable engine only.",
    },
    CommandHelp {
        name: "scan",
        aliases: &[],
        usage: "scan [PREFIX]",
        has_key: true,
        options: &[],
        summary: "show the keys that begin with PREFIX, or all",
        details: "Page by page, so that a key may change between pages. Linearizable engine only.",
    },
    CommandHelp {
        name: "delay",
        aliases: &["sleep"],
        usage: "delay MS",
        has_key: false,
        options: &[],
        summary: "pause; lines typed meanwhile run afterwards, in order",
        details: "Up to 1024 lines wait; further ones are read when the pause is over.",
    },
    CommandHelp {
        name: "dump",
        aliases: &[],
        usage: "dump",
        has_key: false,
        options: &[],
        summary: "show all that the server holds",
        details: "The server prints it as well. It is not a consistent read.",
    },
    CommandHelp {
        name: "status",
        aliases: &[],
        usage: "status",
        has_key: false,
        options: &[],
        summary: "show how the server is",
        details: "",
    },
    CommandHelp {
        name: "help",
        aliases: &["?"],
        usage: "help [COMMAND]",
        has_key: false,
        options: &[],
        summary: "show this, or more about one command",
        details: "",
    },
    CommandHelp {
        name: "exit",
        aliases: &["quit"],
        usage: "exit",
        has_key: false,
        options: &[],
        summary: "leave; so does the end of the input",
        details: "",
    },
];

impl CommandHelp {
    /// The options that the command takes.
    pub(crate) fn all_options(&self) -> impl Iterator<Item = &'static str> {
        self.options.iter().chain(COMMON_OPTIONS).copied()
    }
}

/// The command that a name, or another name of it, stands for.
pub(crate) fn named(name: &str) -> Option<&'static CommandHelp> {
    COMMANDS.iter().find(|help| help.name == name || help.aliases.contains(&name))
}

/// All commands, or one in full.
pub(crate) fn help_text(topic: Option<&CommandHelp>) -> String {
    let Some(help) = topic else {
        let lines = COMMANDS.iter();
        let lines = lines.map(|help| format!("  {:<36}{}\n", help.usage, help.summary));
        return lines.collect::<String>() + WORDS;
    };
    let mut text = format!("{}: {}", help.usage, help.summary);
    if !help.details.is_empty() {
        text = format!("{text}\n{}", help.details);
    }
    if let [first, ..] = help.aliases {
        let others = help.aliases.iter().skip(1);
        let others: String =
            others.map(|alias| format!(", {}", as_word(alias.as_bytes()))).collect();
        text = format!("{text}\nalso: {first}{others}");
    }
    text
}

/// The options that every command takes.
pub(crate) const COMMON_OPTIONS: &[&str] = &["--raw", "--json", "--timeout", "--help"];

/// How words are written.
pub(crate) const WORDS: &str = "\
Every command takes --timeout D (such as 500ms), --json, --raw (values as they are) and --help.
A word in 'single quotes' is taken as it is; one in \"double quotes\" may hold the escapes
\\n \\r \\t \\0 \\\\ \\\" \\xNN.
A word that begins with -- is an option unless it is in quotes or comes after a lone --.
A line that begins with # is a comment and is skipped.
A line that begins with a space is not kept in the history: for secrets.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_command() {
        let text = help_text(None);
        for help in COMMANDS {
            assert!(text.contains(help.usage), "{}", help.name);
            assert!(help_text(Some(help)).contains(help.summary));
        }
        let delete = COMMANDS.iter().find(|help| help.name == "delete");
        assert!(text.contains("begins with # is a comment"));
        assert!(help_text(delete).ends_with("also: del, rm"));
    }
}
