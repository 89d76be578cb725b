//! `kv-server inspect`: what a data directory holds, and whether all of it is sound.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use kv_core::{ConsistencyEngine, PersistSeq, Status};
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_storage::{
    DataDirectoryError, JournalError, JournalInspection, Meta, RealDisk, Run, SegmentReport,
};

use crate::screen;
use crate::tools::resting::RestingServer;
use crate::tools::resting_error::RestingError;
use crate::tools::tree::Tree;

/// The words of `kv-server inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectSettings {
    /// The data directory of one server, such as kv-data/1-eventual. The server must not run
    #[arg(value_name = "DATA_DIRECTORY")]
    directory: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl InspectSettings {
    /// Prints what is there; exits with 0 if it is sound, 1 if it is damaged, 4 if it cannot be
    /// told.
    pub(crate) fn run(&self) -> ExitCode {
        let mut server = match RestingServer::open(&self.directory) {
            Ok(server) => server,
            Err(error) => {
                screen::complain(format_args!("{}", advice(&error)));
                return ExitCode::from(if is_damage(&error) { DAMAGED } else { NOT_TOLD });
            }
        };
        let mut findings = Findings::default();
        let tree = inspect(&self.directory, &mut server, &mut findings);
        let text = if self.json { tree.to_json() } else { tree.to_lines() };
        screen::say(format_args!("{text}"));
        for line in findings.damage.iter().chain(&findings.not_told) {
            screen::complain(format_args!("{line}"));
        }
        match (findings.damage.is_empty(), findings.not_told.is_empty()) {
            (true, true) => ExitCode::SUCCESS,
            (true, false) => ExitCode::from(NOT_TOLD),
            (false, _) => ExitCode::from(DAMAGED),
        }
    }
}

fn advice(error: &DataDirectoryError) -> String {
    match error {
        DataDirectoryError::InUse { .. } => format!(
            "{error}. A server that runs writes all the time, so only `kv-client <ID> status` can \
             tell how it is"
        ),
        DataDirectoryError::NotDescribed { .. } => {
            format!("{error}. A data directory is one server's, such as kv-data/1-eventual")
        }
        DataDirectoryError::Failed(_)
        | DataDirectoryError::Damaged { .. }
        | DataDirectoryError::NewerFormat { .. }
        | DataDirectoryError::OtherServer { .. }
        | DataDirectoryError::OtherEngine { .. }
        | DataDirectoryError::OtherConfiguration { .. } => error.to_string(),
    }
}

const fn is_damage(error: &DataDirectoryError) -> bool {
    matches!(error, DataDirectoryError::Damaged { .. })
}

/// What is wrong, a line each.
#[derive(Debug, Default)]
struct Findings {
    damage: Vec<String>,
    /// What could not be looked at, and so may be sound.
    not_told: Vec<String>,
}

impl Findings {
    fn is_empty(&self) -> bool {
        self.damage.is_empty() && self.not_told.is_empty()
    }

    fn note(&mut self, error: &RestingError) -> Tree {
        let (lines, word) = if error.is_damage() {
            (&mut self.damage, "damaged")
        } else {
            (&mut self.not_told, "not to be told")
        };
        lines.push(error.to_string());
        Tree::text(word)
    }
}

/// Looks at everything.
fn inspect(folder: &Path, server: &mut RestingServer, findings: &mut Findings) -> Tree {
    let meta = server.meta().clone();
    let covers = server.open_checkpoint();
    let items = match &covers {
        Ok(_) => server.verify_checkpoint(),
        Err(_) => Ok(0),
    };
    let checkpoint = match (&covers, items) {
        (Ok(PersistSeq(0)), Ok(_)) => Tree::Nothing,
        (Ok(covers), Ok(items)) => Tree::fields([
            ("covers", Tree::Number(covers.0)),
            ("items", Tree::Number(items)),
            ("sum", Tree::text("verified")),
        ]),
        (Err(error), _) => findings.note(error),
        (Ok(_), Err(error)) => findings.note(&error),
    };
    let knows_covers = covers.is_ok();
    let covers = covers.unwrap_or(PersistSeq(0));
    let journal = server.journal(covers);
    let journal_tree = match &journal {
        Ok(journal) => journal_tree(journal),
        // The checkpoint may have them.
        Err(RestingError::Journal(JournalError::MissingRecords { .. })) if !knows_covers => {
            Tree::text(NOT_LOOKED_AT)
        }
        Err(error) => findings.note(error),
    };
    let state = match (&journal, findings.is_empty()) {
        (Ok(journal), true) => state_tree(server, journal, covers, findings),
        (Ok(_) | Err(_), _) => Tree::text(NOT_LOOKED_AT),
    };
    let lines = |lines: &[String]| Tree::List(lines.iter().map(Tree::text).collect());
    Tree::fields([
        ("directory", Tree::text(folder.display())),
        ("server", Tree::Number(u64::from(meta.identity.node.number()))),
        ("engine", Tree::text(&meta.identity.engine)),
        ("store", Tree::text(format_args!("{:016x}", meta.identity.store))),
        ("cluster", cluster_tree(&meta)),
        ("configuration", Tree::text(&meta.configuration)),
        ("last_run", Tree::text(last_run(meta.run))),
        ("checkpoint", checkpoint),
        ("journal", journal_tree),
        ("state", state),
        ("sound", Tree::Flag(findings.is_empty())),
        ("damage", lines(&findings.damage)),
        ("not_told", lines(&findings.not_told)),
    ])
}

fn cluster_tree(meta: &Meta) -> Tree {
    meta.cluster.map_or(Tree::Nothing, |cluster| Tree::text(format_args!("{:016x}", cluster.0)))
}

const fn last_run(run: Option<Run>) -> &'static str {
    match run {
        None => "never ran",
        Some(Run { ended: true, .. }) => "stopped cleanly",
        Some(Run { synced: true, .. }) => {
            "its end is not noted; with --fsync always nothing is lost by any"
        }
        Some(_) => {
            "not stopped cleanly, with --fsync interval or never: if power was lost since, what was \
             written last may be missing, and the server sets this aside and starts empty"
        }
    }
}

fn journal_tree(journal: &JournalInspection<RealDisk>) -> Tree {
    let torn = journal.torn().map_or(Tree::Nothing, |torn| {
        Tree::fields([
            ("file", Tree::text(torn.file.display())),
            ("offset", Tree::Number(torn.offset)),
            ("whole_records", Tree::Number(torn.records)),
        ])
    });
    Tree::fields([
        ("records", Tree::Number(journal.records())),
        ("last", Tree::Number(journal.last().0)),
        ("durable_through", Tree::Number(journal.durable_through().0)),
        ("torn_tail", torn),
        ("segments", Tree::List(journal.segments().map(segment_tree).collect())),
    ])
}

fn segment_tree(segment: SegmentReport) -> Tree {
    let (first, last) = segment.records.unzip();
    let number = |seq: Option<PersistSeq>| seq.map_or(Tree::Nothing, |seq| Tree::Number(seq.0));
    Tree::fields([
        ("file", Tree::text(segment.file.display())),
        ("used_bytes", Tree::Number(segment.used_bytes)),
        ("capacity_bytes", Tree::Number(segment.capacity_bytes)),
        ("first", number(first)),
        ("last", number(last)),
    ])
}

/// Recovers the engine, and says how it is.
fn state_tree(
    server: &mut RestingServer,
    journal: &JournalInspection<RealDisk>,
    covers: PersistSeq,
    findings: &mut Findings,
) -> Tree {
    let status = match server.meta().identity.engine.as_str() {
        EventualEngine::NAME => {
            server.engine::<EventualEngine>(journal, covers).map(|engine| engine.status())
        }
        LinearEngine::NAME => {
            server.engine::<LinearEngine>(journal, covers).map(|engine| engine.status())
        }
        // An engine of somebody's own: all that can be said of its data has been said.
        _ => return Tree::text("of an engine that this program does not know"),
    };
    match status {
        Ok(status) => status_tree(&status),
        Err(error) => findings.note(&error),
    }
}

fn status_tree(status: &Status) -> Tree {
    let mut fields = vec![("incarnation".to_owned(), Tree::Number(status.incarnation.0))];
    fields.extend(status.figures().map(|(name, value)| (name.to_owned(), Tree::Number(value))));
    Tree::Fields(fields)
}

const NOT_LOOKED_AT: &str = "not looked at";

/// The exit code for damage.
const DAMAGED: u8 = 1;

/// The exit code where nothing can be said: not there, in use, not readable.
const NOT_TOLD: u8 = 4;
