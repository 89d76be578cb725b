//! What each command does, in words.

use super::words::as_word;

/// A command for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommandHelp {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) usage: &'static str,
    /// Which of its words are keys.
    pub(crate) keys: KeyWords,
    /// The options of this command alone.
    pub(crate) options: &'static [OptionHelp],
    pub(crate) summary: &'static str,
    pub(crate) details: &'static str,
}

/// Which words of a command are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyWords {
    None,
    First,
    All,
}

/// An option for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OptionHelp {
    /// With its dashes.
    pub(crate) name: &'static str,
    /// What its value is called; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    pub(crate) meaning: &'static str,
}

const fn option(name: &'static str, value: &'static str, meaning: &'static str) -> OptionHelp {
    OptionHelp { name, value: Some(value), meaning }
}

const fn switch(name: &'static str, meaning: &'static str) -> OptionHelp {
    OptionHelp { name, value: None, meaning }
}

const QUORUM: &str = "N|majority|all";
const R: OptionHelp =
    option("--r", QUORUM, "how many servers must answer, for this read alone (eventual engine)");
const LEVEL: OptionHelp = option(
    "--level",
    "LEVEL",
    "linearizable (default), sequential: by this server alone, no older than what this client has \
     seen, or sequenced: linearizable, in the log as a write is (linearizable engine); atomic: no later \
     read shows anything older if W + R > N (eventual engine)",
);
const W: OptionHelp =
    option("--w", QUORUM, "how many servers must hold it, for this write alone (eventual engine)");
const IF_ABSENT: OptionHelp =
    switch("--if-absent", "only if the key is missing (linearizable engine)");
const IF_PRESENT: OptionHelp =
    switch("--if-present", "only if there is the key (linearizable engine)");
const IF_VERSION: OptionHelp =
    option("--if-version", "N", "only if the value is from write N (linearizable engine)");
const IF_VALUE: OptionHelp =
    option("--if-value", "VALUE", "only if the key has this value (linearizable engine)");
const TTL: OptionHelp = option(
    "--ttl",
    "TIME",
    "remove it after this time, unless it is written again (linearizable engine)",
);
const LIMIT: OptionHelp = option("--limit", "N", "the first N keys alone");
const KEYS_ONLY: OptionHelp = switch("--keys-only", "keys alone, one on a line");
const VALUES_ONLY: OptionHelp = switch("--values-only", "values alone, one on a line");
const COUNT: OptionHelp = switch("--count", "how many keys there are, alone");
const NULL: OptionHelp = switch("--null", "like --raw, with a NUL after each key and each value");

const ALL: OptionHelp = switch("--all", "with every counter");
const READS: OptionHelp = switch("--reads", "a server that serves reads alone counts as serving");
const WAIT: OptionHelp = switch("--wait", "wait until it serves, for --timeout at most");

const LISTING: &str = "Without options a line is `KEY = VALUE (version V)`, with quotes where they \
                       are needed. With --raw it is the key, a tab and the value, as they are; where \
                       a value may hold a tab or a line's end, use --null or --json.";

/// All commands, in the order in which `help` lists them.
pub(crate) const COMMANDS: &[CommandHelp] = &[
    CommandHelp {
        name: "get",
        aliases: &[],
        usage: "get KEY... [--r N|majority|all]",
        keys: KeyWords::All,
        options: &[R, LEVEL],
        summary: "read a key, or several",
        details: "Several keys are read at the same time, each as by a get of its own, and printed \
                  in their order.",
    },
    CommandHelp {
        name: "put",
        aliases: &["set"],
        usage: "put KEY VALUE [--w N|majority|all]",
        keys: KeyWords::First,
        options: &[
            switch("--stdin", "the value is the standard input, in place of VALUE"),
            TTL,
            W,
            IF_ABSENT,
            IF_PRESENT,
            IF_VERSION,
            IF_VALUE,
        ],
        summary: "write a key",
        details: "With an --if option it is written only if that is so at that moment, else not done.",
    },
    CommandHelp {
        name: "delete",
        aliases: &["del", "rm"],
        usage: "delete KEY [--w N|majority|all]",
        keys: KeyWords::First,
        options: &[
            W,
            IF_PRESENT,
            IF_VERSION,
            IF_VALUE,
            option("--prefix", "PREFIX", "all keys that begin so, in place of KEY"),
        ],
        summary: "remove a key",
        details: "A missing key is no error, and `ok` does not say whether there was one; with \
                  --if-present it is an error (linearizable engine). With --prefix the keys are \
                  looked up and removed one after the other, and their number is printed.",
    },
    CommandHelp {
        name: "exists",
        aliases: &[],
        usage: "exists KEY... [--r N|majority|all]",
        keys: KeyWords::All,
        options: &[R, LEVEL],
        summary: "say whether there is a key: true or false",
        details: "",
    },
    CommandHelp {
        name: "cas",
        aliases: &[],
        usage: "cas KEY OLD NEW",
        keys: KeyWords::First,
        options: &[TTL],
        summary: "write a key if it has the value OLD",
        details: "The same as `put KEY NEW --if-value OLD`. Linearizable engine only.",
    },
    CommandHelp {
        name: "incr",
        aliases: &[],
        usage: "incr KEY [N]",
        keys: KeyWords::First,
        options: &[],
        summary: "add N, or 1, to the number that a key holds",
        details: "A missing key counts as 0. Linearizable engine only.",
    },
    CommandHelp {
        name: "append",
        aliases: &[],
        usage: "append KEY VALUE",
        keys: KeyWords::First,
        options: &[],
        summary: "add VALUE to the end of a key's value",
        details: "A missing key counts as empty. Prints how many bytes the value then has. \
                  Linearizable engine only.",
    },
    CommandHelp {
        name: "expire",
        aliases: &[],
        usage: "expire KEY TIME",
        keys: KeyWords::First,
        options: &[],
        summary: "remove a key after this time, unless it is put again",
        details: "Not found, if the key is missing. Linearizable engine only.",
    },
    CommandHelp {
        name: "persist",
        aliases: &[],
        usage: "persist KEY",
        keys: KeyWords::First,
        options: &[],
        summary: "let a key last for ever",
        details: "Not found, if the key is missing or lasts for ever already. Linearizable engine \
                  only.",
    },
    CommandHelp {
        name: "ttl",
        aliases: &[],
        usage: "ttl KEY",
        keys: KeyWords::First,
        options: &[LEVEL],
        summary: "show how long a key still lasts, or `forever`",
        details: "Linearizable engine only.",
    },
    CommandHelp {
        name: "scan",
        aliases: &[],
        usage: "scan [PREFIX] [--r N|majority|all]",
        keys: KeyWords::First,
        options: &[R, LIMIT, KEYS_ONLY, VALUES_ONLY, COUNT, NULL],
        summary: "show the keys that begin with PREFIX, or all",
        details: "Page by page, so that a key may change between pages. In the eventual engine each page is merged \
                  from R servers, key by key as a `get` does.",
    },
    CommandHelp {
        name: "delay",
        aliases: &["sleep"],
        usage: "delay MS",
        keys: KeyWords::None,
        options: &[],
        summary: "pause; lines typed meanwhile run afterwards, in order",
        details: "Up to 1024 lines wait; further ones are read when the pause is over.",
    },
    CommandHelp {
        name: "begin",
        aliases: &["multi"],
        usage: "begin",
        keys: KeyWords::None,
        options: &[],
        summary: "begin a transaction: the lines up to `commit` take effect together",
        details: "All of them take effect at one moment, or none does. Nothing is sent before \
                  `commit`, so that what a line reads is printed then. It takes get, exists, put, \
                  delete, cas, incr, append, expire, persist and ttl, up to 4096 of them and 24 MiB. What \
                  --if options and cas ask is asked of what the keys hold before the first line \
                  takes effect. A line that is refused makes `commit` refuse all. Linearizable \
                  engine only.",
    },
    CommandHelp {
        name: "commit",
        aliases: &["exec"],
        usage: "commit",
        keys: KeyWords::None,
        options: &[],
        summary: "carry out the lines since `begin`, all or none",
        details: "Prints what each of them brings, in order. If one cannot be done, or what it asks \
                  for does not hold, nothing is done.",
    },
    CommandHelp {
        name: "discard",
        aliases: &["rollback"],
        usage: "discard",
        keys: KeyWords::None,
        options: &[],
        summary: "drop the lines since `begin`; nothing is done",
        details: "",
    },
    CommandHelp {
        name: "dump",
        aliases: &[],
        usage: "dump",
        keys: KeyWords::None,
        options: &[LIMIT, KEYS_ONLY, VALUES_ONLY, COUNT, NULL],
        summary: "show all that the server holds",
        details: "The server prints it as well. It is not a consistent read.",
    },
    CommandHelp {
        name: "status",
        aliases: &[],
        usage: "status",
        keys: KeyWords::None,
        options: &[ALL, WAIT],
        summary: "show how the server is",
        details: "Exit codes: 0 it serves reads and writes, 1 it serves reads alone, 4 it does not \
                  serve or does not answer.",
    },
    CommandHelp {
        name: "health",
        aliases: &[],
        usage: "health",
        keys: KeyWords::None,
        options: &[READS, WAIT],
        summary: "ask each server whether it serves",
        details: "Asks all of --servers that are of the cluster, or the one whose id stands before \
                  the command. Exit codes: 0 all of them serve reads and writes, 1 some do, 4 none \
                  does.",
    },
    CommandHelp {
        name: "lead",
        aliases: &[],
        usage: "lead SERVER",
        keys: KeyWords::None,
        options: &[],
        summary: "make a server the sequencer",
        details: "The present sequencer brings it up to date and hands over; requests that wait go \
                  to it, and none is lost. Linearizable engine only. With W=1 or R=1 no other \
                  server can take the sequencer's place.",
    },
    CommandHelp {
        name: "help",
        aliases: &["?"],
        usage: "help [COMMAND]",
        keys: KeyWords::None,
        options: &[],
        summary: "show this, or more about one command",
        details: "",
    },
    CommandHelp {
        name: "exit",
        aliases: &["quit"],
        usage: "exit",
        keys: KeyWords::None,
        options: &[],
        summary: "leave; so does the end of the input",
        details: "",
    },
];

impl CommandHelp {
    /// The options that the command takes.
    pub(crate) fn all_options(&self) -> impl Iterator<Item = &'static OptionHelp> + use<> {
        self.options.iter().chain(COMMON_OPTIONS)
    }

    /// The option of this name.
    pub(crate) fn option(&self, name: &str) -> Option<&'static OptionHelp> {
        self.all_options().find(|option| option.name == name)
    }

    /// What it does, in full.
    pub(crate) fn description(&self) -> String {
        let lists = self.options.contains(&NULL);
        let parts = [self.details, if lists { LISTING } else { "" }];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

impl OptionHelp {
    /// `--r N|majority|all`
    pub(crate) fn usage(&self) -> String {
        let value = self.value.map_or_else(String::new, |value| format!(" {value}"));
        format!("{}{value}", self.name)
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
    let description = help.description();
    if !description.is_empty() {
        text = format!("{text}\n{description}");
    }
    for option in help.options {
        text = format!("{text}\n  {:<22}{}", option.usage(), option.meaning);
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
pub(crate) const COMMON_OPTIONS: &[OptionHelp] = &[
    switch("--raw", "values as they are"),
    switch("--json", "a JSON object"),
    option("--timeout", "TIME", "how long it may take"),
    option("--repeat", "N", "run the command N times"),
    option("--every", "TIME", "repeat it at this interval, for ever without --repeat"),
    switch("--help", "explain the command"),
];

/// How words are written.
pub(crate) const WORDS: &str = "\
Every command takes --timeout TIME (such as 500ms), --json, --raw (values as they are), --help,
and --repeat N and --every TIME to run it again and again.
In a pipe each get, put or the like prints one line, in order: `(not found)` for a missing key,
`(not done)`, `(unknown)` or `(wrong usage)` where it failed. A value that looks like one of these
is in quotes. Lists print a line for each key, delay and exit print none; begin, commit and discard
neither: the lines of a transaction print theirs at its commit.
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
