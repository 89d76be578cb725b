//! The builds that are compared.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kv_tests::{Process, Program, Site, program};

/// A build of `kv-server`.
pub(crate) struct Build {
    pub(crate) name: &'static str,
    path: PathBuf,
}

impl Build {
    /// This one, and the one to compare it with.
    pub(crate) fn all() -> Vec<Self> {
        let baseline = std::env::var_os("KV_BASELINE").map(PathBuf::from);
        let baseline = baseline.map(|path| Self { name: "baseline", path });
        let this = Self { name: "this build", path: program(Program::Server) };
        baseline.into_iter().chain([this]).collect()
    }

    /// Starts a server.
    pub(crate) fn server(&self, site: &Site, words: &str) -> Process {
        site.server_of(&self.path, words)
    }
}

/// A folder for data directories.
pub(crate) fn folder() -> tempfile::TempDir {
    let base = std::env::var_os("KV_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    tempfile::tempdir_in(base).unwrap()
}

/// Processor time that a process has used.
pub(crate) fn cpu_time(process: &Process) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// Bytes of a process' resident set.
pub(crate) fn resident_bytes(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

/// The median of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Of Linux on all processors that are in use.
const TICKS_PER_SECOND: u64 = 100;
