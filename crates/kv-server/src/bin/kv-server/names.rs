//! Names of servers that the system does not know.

use std::net::IpAddr;
use std::time::Duration;

use kv_server::ServerConfig;
use tokio::net::lookup_host;
use tokio::time::sleep;

use crate::screen;

/// Says which of the other servers have names that cannot be found, and when they are found after
/// all: without that, nobody sees why such servers are missing. Ends once all are found.
pub(crate) async fn watch(config: ServerConfig) {
    let mut unknown: Vec<Name> = Name::all(&config);
    let mut is_first = true;
    loop {
        let mut still_unknown = Vec::new();
        for name in unknown {
            // What is found is of no use here: whoever connects looks it up again.
            let problem = lookup_host(&name.address).await.map(drop).err();
            match &problem {
                Some(error) if is_first => screen::say(format_args!(
                    "{name} cannot be found ({error}): correct it in --servers, or in the name \
                     service"
                )),
                None if !is_first => screen::say(format_args!("{name} is found now")),
                Some(_) | None => {}
            }
            still_unknown.extend(problem.map(|_| name));
        }
        if still_unknown.is_empty() {
            return;
        }
        unknown = still_unknown;
        is_first = false;
        sleep(PERIOD).await;
    }
}

/// The name of a server's host.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    text: String,
    address: String,
}

impl Name {
    /// Those of all other servers that are named by more than a number.
    fn all(config: &ServerConfig) -> Vec<Self> {
        let others = config.servers.ids().filter(|id| *id != config.node);
        let names = others.filter_map(|id| {
            let address = config.servers.address(id)?;
            let (host, _) = address.rsplit_once(':')?;
            let is_number = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
            let text = format!("the name {host} of server {id}");
            (!is_number).then(|| Self { text, address: address.to_owned() })
        });
        names.collect()
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// How often a name that was not found is looked up again.
const PERIOD: Duration = Duration::from_secs(5);
