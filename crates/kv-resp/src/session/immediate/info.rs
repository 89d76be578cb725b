//! `INFO`: what the server is and how it does.

use std::fmt::Write;

use bytes::Bytes;
use kv_core::Status;

use crate::front::Context;
use crate::reply::Reply;

/// The version of Redis whose words and rules these are. Clients choose what they use by it.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// Describes the sections that are named, or all of them.
pub(super) fn info(context: &Context<'_>, names: &[Bytes]) -> Reply {
    let status = (context.status)();
    let is_named = |word: &str| names.iter().any(|name| name.eq_ignore_ascii_case(word.as_bytes()));
    let is_wanted = |section: &str| {
        let is_default = section != "Commandstats";
        is_named(section)
            || ALL.into_iter().any(is_named)
            || is_default && (names.is_empty() || is_named("default"))
    };
    let mut text = String::new();
    for (title, section) in SECTIONS {
        if !is_wanted(title) {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str("# ");
        text.push_str(title);
        text.push_str("\r\n");
        for (name, value) in section(context, &status) {
            // Memory takes everything.
            let _ = write!(text, "{name}:{value}\r\n");
        }
    }
    Reply::Text(text)
}

type Lines = Vec<(&'static str, String)>;

fn server(context: &Context<'_>, _: &Status) -> Lines {
    let facts = &context.front.facts;
    let uptime = context.now.mono.saturating_sub(facts.started).as_secs();
    vec![
        ("redis_version", REDIS_VERSION.to_owned()),
        ("redis_mode", "standalone".to_owned()),
        ("kv_server_version", facts.version.to_owned()),
        ("os", std::env::consts::OS.to_owned()),
        ("arch_bits", usize::BITS.to_string()),
        ("process_id", std::process::id().to_string()),
        ("run_id", format!("{0:016x}{0:016x}{1:08x}", facts.seed, facts.port)),
        ("tcp_port", facts.port.to_string()),
        ("server_time_usec", context.now.wall.as_micros().to_string()),
        ("uptime_in_seconds", uptime.to_string()),
        ("uptime_in_days", (uptime / (24 * 3600)).to_string()),
    ]
}

fn clients(context: &Context<'_>, _: &Status) -> Lines {
    let front = &context.front;
    vec![
        ("connected_clients", front.clients.len().to_string()),
        ("cluster_connections", "0".to_owned()),
        ("maxclients", front.facts.clients_max.to_string()),
        ("blocked_clients", "0".to_owned()),
    ]
}

fn memory(context: &Context<'_>, _: &Status) -> Lines {
    let used = (context.front.facts.usage)().memory_bytes;
    vec![
        ("used_memory", used.to_string()),
        ("used_memory_rss", used.to_string()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory_policy", "noeviction".to_owned()),
    ]
}

fn persistence(context: &Context<'_>, status: &Status) -> Lines {
    let durable = u8::from(context.front.facts.is_durable);
    let mut lines = vec![("loading", "0".to_owned()), ("aof_enabled", durable.to_string())];
    let position = status.positions.journal_persisted;
    lines.extend(position.map(|position| ("journal_persisted", position.to_string())));
    lines
}

fn stats(context: &Context<'_>, _: &Status) -> Lines {
    let stats = &context.front.stats;
    vec![
        ("total_connections_received", stats.connections.to_string()),
        ("total_commands_processed", stats.commands.to_string()),
        ("rejected_connections", stats.rejected.to_string()),
        ("total_error_replies", stats.errors.to_string()),
    ]
}

fn replication(_: &Context<'_>, status: &Status) -> Lines {
    vec![
        ("role", "master".to_owned()),
        ("connected_slaves", status.connected.len().to_string()),
        ("master_repl_offset", status.positions.applied.unwrap_or(0).to_string()),
    ]
}

fn cpu(context: &Context<'_>, _: &Status) -> Lines {
    let usage = (context.front.facts.usage)();
    let seconds = |time: std::time::Duration| format!("{:.6}", time.as_secs_f64());
    vec![
        ("used_cpu_sys", seconds(usage.system)),
        ("used_cpu_user", seconds(usage.user)),
        ("used_cpu_sys_children", "0.000000".to_owned()),
        ("used_cpu_user_children", "0.000000".to_owned()),
    ]
}

/// All commands together: they are not counted one by one.
fn command_stats(context: &Context<'_>, _: &Status) -> Lines {
    let stats = &context.front.stats;
    let failed = stats.errors.saturating_sub(stats.refused);
    let counts = format!(
        "calls={},usec=0,usec_per_call=0.00,rejected_calls={},failed_calls={failed}",
        stats.commands, stats.refused
    );
    vec![("cmdstat_all", counts)]
}

fn errors(context: &Context<'_>, _: &Status) -> Lines {
    vec![("errorstat_all", format!("count={}", context.front.stats.errors))]
}

fn cluster(_: &Context<'_>, _: &Status) -> Lines {
    vec![("cluster_enabled", "0".to_owned())]
}

fn keyspace(_: &Context<'_>, status: &Status) -> Lines {
    match status.positions.keys {
        None | Some(0) => Vec::new(),
        Some(keys) => vec![("db0", format!("keys={keys},expires=0,avg_ttl=0"))],
    }
}

/// What Redis does not have.
fn store(_: &Context<'_>, status: &Status) -> Lines {
    let connected: Vec<String> = status.connected.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        ("engine", status.engine.clone()),
        ("server", status.node.to_string()),
        ("role", status.role.to_string()),
        ("servers", status.cluster.nodes().to_string()),
        ("w", status.cluster.write_quorum().to_string()),
        ("r", status.cluster.read_quorum().to_string()),
        ("connected", connected.join(",")),
        ("incarnation", status.incarnation.0.to_string()),
    ];
    if let Some(waiting) = status.waiting {
        lines.push(("waiting", waiting.to_string()));
    }
    lines.extend(status.positions.figures().map(|(name, value)| (name, value.to_string())));
    lines
}

type Section = fn(&Context<'_>, &Status) -> Lines;

const SECTIONS: [(&str, Section); 12] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Commandstats", command_stats),
    ("Errorstats", errors),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
    ("Store", store),
];

/// Names of all sections together.
const ALL: [&str; 2] = ["all", "everything"];
