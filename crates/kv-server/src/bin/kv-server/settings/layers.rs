//! Settings in layers: defaults below a file, below the environment, below the command line.
//!
//! The values of a file are made the defaults of the command line's parser. So every value goes
//! through the same parser wherever it is from, and the order of the layers is the parser's.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use kv_cli::environment::{BadVariable, bad_variable, reason_against};
use kv_core::ClusterConfigError;
use kv_server::ConfigError;
use toml_writer::{ToTomlValue, TomlStringBuilder};

use crate::screen::options::options_against_config;
use crate::settings::config_file::{ConfigFileError, FileSetting, LineProblem, read_settings};
use crate::settings::{Form, KEYS, Key};

/// A command line that was read, with the file that it names.
pub(crate) struct Layers {
    /// What the parser made of all layers.
    pub(crate) matches: ArgMatches,
    file: Option<(PathBuf, Vec<FileSetting>)>,
    command: Command,
}

/// Why settings cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayersError {
    /// Help was asked for, or the command line makes no sense.
    #[error(transparent)]
    CommandLine(clap::Error),
    #[error(transparent)]
    Environment(BadVariable),
    #[error(transparent)]
    File(#[from] ConfigFileError),
    /// Each setting is legal, but not all of them together.
    #[error("{text}")]
    Together { text: String },
}

impl Layers {
    /// Reads `words`, the program's name first, and the environment; the file, if they name one.
    pub(crate) fn read(command: Command, words: Vec<OsString>) -> Result<Self, LayersError> {
        let parse = |command: &Command| {
            let matches = command.clone().try_get_matches_from(&words);
            matches.map_err(|error| blame_environment(command, error))
        };
        let matches = parse(&command)?;
        let Some(path) = config_path(&matches) else {
            return Ok(Self { matches, file: None, command });
        };
        let file = read_settings(&path)?;
        let mut layered = command.clone();
        for setting in &file {
            check(&command, setting).map_err(|problem| ConfigFileError::Line {
                path: path.clone(),
                line: setting.line,
                problem,
            })?;
            layered = with_default(layered, setting);
        }
        let matches = parse(&layered)?;
        Ok(Self { matches, file: Some((path, file)), command })
    }

    /// All settings as a file that means the same, a line each, with where each is from.
    pub(crate) fn to_toml(&self) -> String {
        let matches = settings_of(&self.matches);
        let mut lines: Vec<(String, String)> = Vec::new();
        let mut table = "";
        for key in &KEYS {
            if key.table != table {
                table = key.table;
                lines.push((String::new(), String::new()));
                lines.push((format!("[{table}]"), String::new()));
            }
            let raw = matches.get_raw(key.field).and_then(|mut values| values.next());
            lines.push(match raw {
                Some(value) => {
                    let value = toml_value(key.form, &value.to_string_lossy());
                    (format!("{} = {value}", key.name), self.origin(key, matches))
                }
                None => (format!("# {} =", key.name), "not set".to_owned()),
            });
        }
        let width = lines.iter().map(|(setting, _)| setting.chars().count()).max().unwrap_or(0);
        let line = |(setting, origin): &(String, String)| match origin.as_str() {
            "" => format!("{setting}\n"),
            _ => format!("{setting:<width$}  # {origin}\n"),
        };
        lines.iter().map(line).collect()
    }

    /// Says where the setting is from that makes no server together with the others.
    pub(crate) fn blame(&self, problem: ConfigError) -> LayersError {
        let text = format!("{problem}{}", options_against_config(&problem));
        let ConfigError::Cluster(ClusterConfigError::Quorum { name, .. }) = problem else {
            return LayersError::Together { text };
        };
        let is_named = |key: &&Key| key.table.is_empty() && key.name.eq_ignore_ascii_case(name);
        let Some(key) = KEYS.iter().find(is_named) else {
            return LayersError::Together { text };
        };
        let origin = self.origin(key, settings_of(&self.matches));
        let origin = if self.file_origin(key).is_some_and(|of_file| of_file == origin) {
            format!("{origin}: `{}`", key.name)
        } else {
            origin
        };
        let reason = text.strip_prefix(name).unwrap_or(&text);
        LayersError::Together { text: format!("{origin}{reason}") }
    }

    /// Why the settings, each of them legal, contradict each other; `None` if they do not.
    pub(crate) fn contradiction(&self) -> Option<LayersError> {
        let matches = settings_of(&self.matches);
        let origin = |field| {
            let key = KEYS.iter().find(|key| key.field == field)?;
            let origin = self.origin(key, matches);
            (origin != DEFAULT).then_some(origin)
        };
        let memory = origin("memory").filter(|_| matches.get_flag("memory"))?;
        let folder = origin("data_dir")?;
        let text = format!(
            "{memory} keeps nothing on disk and {folder} says where to keep data: leave out one of \
             them"
        );
        Some(LayersError::Together { text })
    }

    fn origin(&self, key: &Key, matches: &ArgMatches) -> String {
        let arg = argument(&self.command, key.field);
        let name = |arg: &Arg| match arg.get_long() {
            Some(long) => format!("--{long}"),
            None => format!("argument {}", value_name(arg)),
        };
        match matches.value_source(key.field) {
            Some(ValueSource::CommandLine) => arg.map(name).unwrap_or_default(),
            Some(ValueSource::EnvVariable) => arg.and_then(env_name).unwrap_or_default(),
            // The parser may know more sources one day; a default is what it gives unasked.
            Some(_) | None => self.file_origin(key).unwrap_or_else(|| DEFAULT.to_owned()),
        }
    }

    fn file_origin(&self, key: &Key) -> Option<String> {
        let (path, settings) = self.file.as_ref()?;
        let setting = settings.iter().find(|setting| setting.field == key.field)?;
        Some(format!("{}:{}", path.display(), setting.line))
    }
}

/// The matches that hold the settings: the program's own, or those of its subcommand.
pub(crate) fn settings_of(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((CONFIG, of_config)) => of_config,
        Some(_) | None => matches,
    }
}

/// The origin of what nobody set.
const DEFAULT: &str = "default";

/// The subcommand that takes all settings.
pub(crate) const CONFIG: &str = "config";

fn config_path(matches: &ArgMatches) -> Option<PathBuf> {
    let settings = settings_of(matches);
    let takes_no_file = matches.subcommand_name().is_some_and(|name| name != CONFIG);
    if takes_no_file { None } else { settings.get_one::<PathBuf>("config").cloned() }
}

fn with_default(command: Command, setting: &FileSetting) -> Command {
    let default = |arg: Arg| arg.default_value(setting.text.clone());
    command
        .mut_arg(setting.field, default)
        .mut_subcommand(CONFIG, |config| config.mut_arg(setting.field, default))
}

/// Holds a value against the parser of its option, alone.
fn check(command: &Command, setting: &FileSetting) -> Result<(), LineProblem> {
    let Some(arg) = argument(command, setting.field) else {
        return Ok(());
    };
    reason_against(arg, &setting.text).map_or(Ok(()), |reason| {
        let (name, text) = (setting.name.clone(), setting.text.clone());
        Err(LineProblem::Value { name, text, reason })
    })
}

/// The variable that is to blame, where one is.
fn blame_environment(command: &Command, error: clap::Error) -> LayersError {
    match bad_variable(command, &error) {
        Some(bad) => LayersError::Environment(bad),
        None => LayersError::CommandLine(error),
    }
}

fn argument<'a>(command: &'a Command, field: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_id() == field)
}

fn env_name(arg: &Arg) -> Option<String> {
    arg.get_env().map(|name| name.to_string_lossy().into_owned())
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let name = names.first().map(ToString::to_string);
    name.unwrap_or_else(|| arg.get_id().as_str().to_uppercase())
}

fn toml_value(form: Form, text: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match form {
        Form::Number | Form::Range if is_number(text) => text.to_owned(),
        Form::Range => match text.split_once('-') {
            Some((min, max)) => format!("[{min}, {max}]"),
            None => quoted(text),
        },
        // What the environment says otherwise has been taken for true.
        Form::Switch if FALSE_WORDS.contains(&text.to_lowercase().as_str()) => "false".to_owned(),
        Form::Switch => "true".to_owned(),
        Form::Text | Form::Number | Form::Addresses => quoted(text),
    }
}

/// What `BoolishValueParser` takes for false.
const FALSE_WORDS: [&str; 7] = ["", "n", "no", "f", "false", "off", "0"];

fn quoted(text: &str) -> String {
    TomlStringBuilder::new(text).as_basic().to_toml_value()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::CommandLine;

    fn layers(words: &str, file: &str) -> Result<Layers, LayersError> {
        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        on_disk.write_all(file.as_bytes()).unwrap();
        let path = on_disk.path().to_str().unwrap();
        let words = format!("kv-server {words} --config {path}");
        Layers::read(CommandLine::command(), words.split_whitespace().map(Into::into).collect())
    }

    fn problem(words: &str, file: &str) -> String {
        let error = layers(words, file).err().unwrap().to_string();
        error.rsplit_once("/").unwrap().1.split_once(':').unwrap().1.to_owned()
    }

    fn line(toml: &str, name: &str) -> String {
        let line = toml.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_flag_stands_above_the_file_and_the_file_above_a_default() {
        let file = "w = 2\ncluster = \"blue\"\n[network]\ndelay_ms = [1, 5]\n";
        let toml = layers("config 3 --cluster red", file).unwrap().to_toml();
        assert_eq!(line(&toml, "id"), "id = 3 # argument ID");
        assert_eq!(line(&toml, "cluster"), "cluster = \"red\" # --cluster");
        assert!(line(&toml, "w =").starts_with("w = 2 # /"));
        assert!(line(&toml, "w =").ends_with(":1"));
        assert!(line(&toml, "delay_ms").starts_with("delay_ms = [1, 5] # /"));
        assert!(line(&toml, "delay_ms").ends_with(":4"));
        assert_eq!(line(&toml, "r ="), "r = 1 # default");
        assert_eq!(line(&toml, "memory"), "memory = false # default");
        assert_eq!(line(&toml, "# listen"), "# listen = # not set");
    }

    #[test]
    fn what_is_printed_means_the_same_as_a_file() {
        let words = "config 2 linearizability majority all --servers 1-3 --delay 20 --op-log off";
        let printed = layers(words, "").unwrap().to_toml();
        let read = layers("config", &printed).unwrap().to_toml();
        let bare = |toml: &str| {
            toml.lines().map(|line| line.split('#').next().unwrap().trim().to_owned()).collect()
        };
        let (printed, again): (Vec<String>, Vec<String>) = (bare(&printed), bare(&read));
        assert_eq!(printed, again);
        assert!(!read.contains("# default"), "{read}");
    }

    #[test]
    fn a_bad_value_in_a_file_is_refused_as_its_option_would_be() {
        assert_eq!(
            problem("", "\nw = \"most\""),
            "2: `w` cannot be `most`: a quorum is a whole number, `majority` or `all`"
        );
        assert!(problem("", "id = 11").starts_with("1: `id` cannot be `11`: server 11 does not"));
        assert!(
            problem("", "[limits]\nclients_max = 0").contains("cannot be `0`: 0 is not in 1..")
        );
        assert!(problem("", "[network]\ndelay_ms = [5, 1]").contains("shorter delay first"));
        assert!(problem("", "[timing]\nheartbeat = \"0s\"").contains("from 1ms to 1h"));
    }

    #[test]
    fn a_switch_is_true_or_false_in_a_file() {
        let toml = layers("config", "[data]\nmemory = true\n").unwrap().to_toml();
        assert!(line(&toml, "memory").starts_with("memory = true # /"), "{toml}");
        let wrong = problem("", "[data]\nmemory = \"yes\"");
        assert_eq!(wrong, "2: `data.memory` takes true or false");
    }

    #[test]
    fn a_folder_for_data_that_is_not_kept_is_refused_with_both_origins() {
        let contradiction = |words: &str, file: &str| {
            layers(words, file).unwrap().contradiction().map(|error| error.to_string())
        };
        let text = contradiction("--memory", "[data]\nfolder = \"d\"").unwrap();
        assert!(text.starts_with("--memory keeps nothing on disk and /"), "{text}");
        assert!(text.ends_with(":2 says where to keep data: leave out one of them"), "{text}");
        assert!(contradiction("--memory --data-dir d", "").is_some());
        assert!(contradiction("config --data-dir d", "[data]\nmemory = true").is_some());
        assert_eq!(contradiction("--data-dir d", "[data]\nmemory = false"), None);
        assert_eq!(contradiction("--memory", ""), None);
    }

    #[test]
    fn every_setting_has_a_name_in_files_and_every_name_a_setting() {
        let command = CommandLine::command();
        let fields = command.get_arguments().map(|arg| arg.get_id().as_str().to_owned());
        let fields: Vec<String> = fields.filter(|field| field != "config").collect();
        for field in &fields {
            assert!(KEYS.iter().any(|key| key.field == field), "{field} has no name in files");
        }
        assert_eq!(fields.len(), KEYS.len());
    }
}
