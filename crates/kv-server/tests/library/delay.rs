//! The simulated delay between servers.

use std::time::{Duration, Instant};

use crate::in_process::{config, execute, get, put, ready, sockets, value};
use kv_core::Outcome;
use kv_server::{Consistency, Delay, Server};

async fn start_with(delay: Delay, consistency: Consistency) -> Vec<Server> {
    let (sockets, list) = sockets(2).await;
    let mut servers = Vec::new();
    for (number, socket) in (1..=2).zip(sockets) {
        let mut config = config(number, consistency, 2, &list);
        config.delay = delay;
        servers.push(Server::start_on(socket, config).await.unwrap());
    }
    for server in &servers {
        ready(server).await;
    }
    servers
}

#[tokio::test]
async fn a_put_takes_the_time_of_a_round_trip_and_all_of_them_arrive_in_order() {
    let least = Duration::from_millis(20);
    let delay = Delay::new(least, Duration::from_millis(40)).unwrap();
    for consistency in [Consistency::Eventual, Consistency::Linearizable] {
        let servers = start_with(delay, consistency).await;
        for number in 0..5 {
            let began = Instant::now();
            let outcome = execute(&servers[0], put("x", &number.to_string())).await;
            assert!(matches!(outcome, Outcome::Done(_)), "{consistency}: {outcome:?}");
            let elapsed = began.elapsed();
            assert!(elapsed >= 2 * least, "{consistency}: a put took only {elapsed:?}");
        }
        assert_eq!(value(execute(&servers[1], get("x")).await).as_deref(), Some("4"));
    }
}
