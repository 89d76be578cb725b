//! What the program is to do, and with which settings.

use std::time::Duration;

use clap_complete::Shell;
use kv_client::ClientConfig;
use kv_core::NodeId;

use crate::bench::Bench;
use crate::commands::command::Line;
use crate::commands::line_options::LineOptions;
use crate::output::pager::Pager;

/// What to do.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) config: ClientConfig,
    /// The server whose id stands among the arguments.
    pub(crate) named: Option<NodeId>,
    pub(crate) defaults: Defaults,
    pub(crate) task: Task,
    /// Whether a terminal is to get no more than the plain prompt.
    pub(crate) plain: bool,
    pub(crate) history: Option<String>,
    pub(crate) pager: Pager,
    pub(crate) lines: Lines,
}

/// How commands from a pipe are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// How many may run at the same time.
    pub(crate) max: usize,
    /// Whether none begins behind one that failed.
    pub(crate) stop_on_error: bool,
}

/// What to run.
#[derive(Debug)]
pub(crate) enum Task {
    /// What comes on the standard input.
    Session,
    /// One command.
    Line(Box<Line>),
    Bench(Box<Bench>),
    /// Prints the completions of a shell.
    Completions(Shell),
    /// Prints the page of the manual.
    Manual,
}

/// What counts for commands that say nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) json: bool,
    pub(crate) raw: bool,
    pub(crate) timeout: Duration,
}

impl Defaults {
    /// A line's own options before these.
    pub(crate) fn with(self, options: LineOptions) -> Self {
        Self {
            json: self.json || options.json,
            raw: self.raw || options.raw,
            timeout: options.timeout.unwrap_or(self.timeout),
        }
    }
}
