//! What the library's errors say to a program that embeds a server.

use std::error::Error;
use std::fs;

use crate::in_process::{config, sockets};
use kv_server::{
    ClusterConfigError, ConfigError, Consistency, DataConfig, NodeId, OpLogConfig, QuorumError,
    Server, ServerConfig, StartError,
};

/// Every reason not to start that a test can bring about.
async fn reasons() -> Vec<StartError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    let (held, list) = sockets(1).await;
    let sound = config(1, Consistency::Eventual, 1, &list);
    let but = |change: &dyn Fn(&mut ServerConfig)| {
        let mut config = sound.clone();
        change(&mut config);
        config
    };
    let data = |folder| Some(DataConfig::new(folder));
    let not_described = folder.path().join("other/1-eventual");
    fs::create_dir_all(&not_described).unwrap();
    fs::write(not_described.join("journal-000000000001.segment"), "x").unwrap();

    let bad = [
        but(&|config| config.node = NodeId::new(4).unwrap()),
        but(&|config| config.cluster_name = "k".repeat(10_000)),
        but(&|config| config.write_quorum = kv_server::Quorum::Count(2)),
        but(&|config| config.servers = "1=no-such-host.invalid:1".parse().unwrap()),
        sound.clone(),
    ];
    let on_a_socket_of_their_own = [
        but(&|config| config.data = data(file.join("below"))),
        but(&|config| config.data = data(folder.path().join("other"))),
        but(&|config| config.op_log = Some(OpLogConfig::new(file.join("below"), 1))),
    ];
    let mut errors = Vec::new();
    for config in bad {
        errors.push(Server::start(config).await.err().unwrap());
    }
    drop(held);
    for config in on_a_socket_of_their_own {
        let (mut socket, _) = sockets(1).await;
        errors.push(Server::start_on(socket.remove(0), config).await.err().unwrap());
    }
    errors.push(StartError::from(ConfigError::from(ClusterConfigError::Quorum {
        name: "W",
        problem: QuorumError::Zero,
    })));
    errors
}

#[tokio::test]
async fn an_error_and_its_sources_say_nothing_twice() {
    for error in reasons().await {
        let mut above = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            assert!(!above.contains(&text), "{above:?} contains its source {text:?}");
            above = text;
            source = error.source();
        }
    }
}

#[tokio::test]
async fn an_error_of_the_library_does_not_name_the_programs_options() {
    for error in reasons().await {
        let text = error.to_string();
        assert!(!text.contains("--"), "{text}");
    }
}
