//! A server that promised before it synced, and whose machine was started again since.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::run::{kv_server, output};
use kv_core::{
    Answer, CommandResult, ConsistencyEngine, Incarnation, Key, NodeId, Operation, Quorum,
    RequestOptions, Value,
};
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_server::{Consistency, DataConfig, Server, ServerConfig, SyncPolicy};
use kv_storage::{DataDirectory, DataOwner, LockHolder, RealDisk};
use tokio::net::TcpListener;

fn config(folder: &Path, consistency: Consistency, sync: SyncPolicy) -> ServerConfig {
    let one = Quorum::Count(1);
    let mut config = ServerConfig::new(NodeId::FIRST, consistency, one, one);
    config.servers = "1".parse().unwrap();
    config.data = Some(DataConfig::new(folder).with_sync(sync));
    config
}

/// Does something on a server and stops it; returns its incarnation and what was read.
async fn run(config: ServerConfig, op: Operation) -> (Incarnation, Option<Value>) {
    let (incarnation, read, _) = run_and_look(config, op).await;
    (incarnation, read)
}

/// Returns as well which folders were set aside.
async fn run_and_look(
    config: ServerConfig,
    op: Operation,
) -> (Incarnation, Option<Value>, Vec<PathBuf>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start_on(socket, config).await.unwrap();
    let set_aside = &server.found_data().unwrap().set_aside;
    assert!(set_aside.iter().all(|found| found.bytes > 4 << 20), "a journal begins with 4 MiB");
    let set_aside = set_aside.iter().map(|found| found.folder.clone()).collect();
    server.ready().await;
    let done = server.client().execute(op, RequestOptions::default()).await.unwrap();
    let incarnation = server.client().status().await.unwrap().incarnation;
    server.stop().await.unwrap();
    match done.answer {
        Answer::Results(results) => match results.into_iter().next().unwrap() {
            CommandResult::Value(found) => (incarnation, found.map(|found| found.value), set_aside),
            CommandResult::Written
            | CommandResult::Number(_)
            | CommandResult::Length(_)
            | CommandResult::Changed(_)
            | CommandResult::TimeToLive(_)
            | CommandResult::Expiry(_) => (incarnation, None, set_aside),
        },
        Answer::Page(_) => panic!("a page was not asked for"),
    }
}

/// Notes in the data directory what a process of an earlier run of the machine would have left that
/// was not stopped.
fn pretend_to_have_run_on_another_boot(config: &ServerConfig, synced: bool) {
    let (engine, shared_quorums) = match config.consistency {
        Consistency::Eventual => (EventualEngine::NAME, EventualEngine::SHARED_QUORUMS),
        Consistency::Linearizable => (LinearEngine::NAME, LinearEngine::SHARED_QUORUMS),
    };
    let cluster = config.cluster().unwrap();
    let owner = DataOwner { node: config.node, engine, cluster, shared_quorums };
    let disk = RealDisk::open(config.data_directory().unwrap()).unwrap();
    let process = LockHolder { pid: 1, since: Duration::ZERO };
    let mut directory = DataDirectory::open(disk, &owner, process, 0).unwrap();
    directory.begin_run(Some(0x1234_5678), synced).unwrap();
}

#[tokio::test]
async fn it_starts_as_one_that_lost_its_disk_unless_it_had_synced_always() {
    let key = || Key::new("x").unwrap();
    let value = Value::new("1").unwrap();
    let interval = SyncPolicy::Interval(Duration::from_millis(50));
    for consistency in [Consistency::Eventual, Consistency::Linearizable] {
        for sync in [SyncPolicy::Never, interval, SyncPolicy::Always] {
            let folder = tempfile::tempdir().unwrap();
            let config = config(folder.path(), consistency, sync);
            let put = Operation::put(key(), value.clone());
            let (incarnation, _) = run(config.clone(), put).await;
            let synced = sync == SyncPolicy::Always;
            pretend_to_have_run_on_another_boot(&config, synced);
            let (next, found, lost) = run_and_look(config.clone(), Operation::get(key())).await;
            assert_eq!(found.is_some(), synced, "{consistency}, {sync:?}");
            assert_ne!(next, Incarnation::UNKNOWN);
            if !synced {
                assert_ne!(
                    next, incarnation,
                    "{consistency}, {sync:?}: what it promised is forgotten"
                );
            }
            assert_eq!(lost.len(), usize::from(!synced), "{consistency}, {sync:?}: {lost:?}");
            for lost in lost {
                check_set_aside(&lost);
                // It stays there, also when the server starts again.
                let (_, _, again) = run_and_look(config.clone(), Operation::get(key())).await;
                assert_eq!(again, [lost]);
            }
        }
    }
}

/// Tools read what was set aside, while the server may run.
fn check_set_aside(lost: &Path) {
    let lost = lost.display();
    let (code, text, error) = output(kv_server(&format!("inspect {lost}")));
    assert_eq!((code, error.as_str()), (Some(0), ""), "{text}");
    assert!(text.contains("sound: yes") && text.contains("power was lost"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b");
    let (code, text, error) = output(kv_server(&format!("backup {lost} {}", file.display())));
    assert_eq!(code, Some(0), "{text}{error}");
    assert!(text.contains(": 1 key, ") && text.contains("but for what "), "{text}");
}

#[tokio::test]
async fn a_start_that_was_killed_while_it_set_files_aside_is_made_up_for() {
    let key = || Key::new("x").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), Consistency::Eventual, SyncPolicy::Never);
    run(config.clone(), Operation::put(key(), Value::new("1").unwrap())).await;
    pretend_to_have_run_on_another_boot(&config, false);
    let directory = config.data_directory().unwrap();
    let draft = directory.join("lost.draft");
    std::fs::create_dir(&draft).unwrap();
    std::fs::copy(directory.join("meta"), draft.join("meta")).unwrap();
    let segment = "journal-000000000001.segment";
    std::fs::rename(directory.join(segment), draft.join(segment)).unwrap();
    let (_, found, lost) = run_and_look(config, Operation::get(key())).await;
    assert_eq!((found, lost.len()), (None, 1));
    assert!(!draft.exists());
    check_set_aside(&lost[0]);
}
