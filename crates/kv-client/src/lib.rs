//! The client: an async library. The command line is built on it, with the feature `cli`.
//!
//! Two types to read first: [`Client`], which sends operations to one server of a cluster and goes
//! on to the next one when that server is lost; and [`ClientError`], which tells what definitely
//! had no effect from what may have had one.
//!
//! Use it to talk to a cluster of `kv-server` from a program. A program that runs the server itself
//! needs no socket to talk to it: `kv_server::Server::client` is enough.
//!
//! Many requests can be under way at once on a client's one connection; they are answered in any
//! order. A client is cheap to clone, and every clone uses the same connection.
//!
//! ```no_run
//! use kv_client::{Certainty, Client, ClientConfig, Key, Value};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig::new("1-3".parse()?);
//! let client = Client::connect(config).await?;
//!
//! let key = Key::new("greeting")?;
//! match client.put(key.clone(), Value::new("hello")?).await {
//!     Ok(written) => println!("written as version {:?}", written.version),
//!     Err(error) if error.certainty() == Certainty::Unknown => println!("who knows: {error}"),
//!     Err(error) => println!("not written: {error}"),
//! }
//! if let Some(found) = client.get(key).await?.found {
//!     println!("{:?} of version {}", found.value, found.version);
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod client;
mod config;
mod connection;
mod driver;
mod error;
mod event;
mod pages;
mod requests;
mod seen;
mod service;
mod store_identity;

pub use answer::{DumpEntries, Read, Written};
pub use client::Client;
pub use config::ClientConfig;
pub use connection::error::{DialError, DialFailure, LostReason};
pub use error::{Certainty, ClientError};
pub use event::Event;
#[doc(no_inline)]
pub use kv_core::{
    Answer, Batch, BatchError, CannotLead, Check, Command, CommandResult, Condition, Done, Dump,
    ExpiryMs, Feature, Key, KeyExpiry, Level, NoResult, NodeId, NotDone, Operation, Outcome, Page,
    Quorum, QuorumError, RequestOptions, Scan, Served, SizeError, Status, TimeToLive, Unknown,
    Value, Version, Versioned, Waiting,
};
#[doc(no_inline)]
pub use kv_proto::{Refusal, RefusalCode, ServerList, ServerListError, Welcome};
pub use pages::Pages;
pub use requests::SendState;
#[doc(no_inline)]
pub use {bytes, kv_core, kv_proto};
