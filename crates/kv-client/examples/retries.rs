//! A client that retries, and still counts each visit once.
//!
//! The client sends a write again by itself until its time is up, in a session in which it takes
//! effect once. What is unknown after that, or was begun by a program that has since ended, may have
//! been done, or may still be, so making it again could count twice. A receipt helps: the same batch
//! that counts leaves it behind, and takes effect only if it is not there yet.
//!
//! With a linearizable cluster (`kv-server dev`):
//! `cargo run -p kv-client --example retries -- 1-3`

use std::time::Duration;

use kv_client::{Batch, Check, Client, ClientConfig, ClientError, Command, Condition, Key};
use kv_client::{NotDone, Operation, RequestOptions, Value};
use tokio::time::{Instant, sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "1-3".to_owned());
    let config = ClientConfig::new(servers.parse()?);
    let client = Client::connect(config).await?;
    // A visit has a name that no other has.
    let visit = format!("{}-{:?}", std::process::id(), std::time::SystemTime::now());
    let until = Instant::now() + Duration::from_secs(30);
    let attempts = count_once(&client, &visit, until).await?;
    let visits = client.get(Key::new("visits")?).await?.found;
    let visits = visits.map(|found| String::from_utf8_lossy(found.value.as_bytes()).into_owned());
    say(&format!("visit {} was counted, in {attempts} attempts", visits.unwrap_or_default()));
    Ok(())
}

/// Counts a visit once, however often it is called with the same name and however it ends; returns
/// the number of attempts.
pub async fn count_once(
    client: &Client,
    visit: &str,
    until: Instant,
) -> Result<u32, Box<dyn std::error::Error>> {
    let receipt = Key::new(format!("visit:{visit}"))?;
    let is_new = Condition { key: receipt.clone(), check: Check::Absent };
    let count = Command::Increment { key: Key::new("visits")?, by: 1 };
    let leave = Command::Put { key: receipt, value: Value::new("counted")?, time_to_live: None };
    let operation = Operation::Batch(Batch::new(vec![is_new], vec![count, leave])?);

    let mut pause = Duration::from_millis(20);
    for attempt in 1.. {
        let options = RequestOptions::default().with_timeout(Duration::from_secs(2));
        let error = match client.execute(operation.clone(), options).await {
            Ok(_) => return Ok(attempt),
            // An earlier attempt was done after all.
            Err(ClientError::NotDone(NotDone::ConditionFailed { .. })) => return Ok(attempt),
            // No server would ever do it.
            Err(error @ ClientError::NotDone(NotDone::NotSupported(_))) => return Err(error.into()),
            Err(error) => error,
        };
        // Thanks to the receipt, what is unknown is retried like what was not done, though in
        // another request.
        say(&format!("attempt {attempt} ({:?}): {error}", error.certainty()));
        if Instant::now() + pause > until {
            return Err(error.into());
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
    unreachable!("there are more numbers than attempts")
}

#[expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]
fn say(line: &str) {
    println!("{line}");
}
