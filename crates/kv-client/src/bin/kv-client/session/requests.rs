//! Commands that ask the server for something.

use std::io;
use std::time::{Duration, Instant};

use kv_client::{Client, ClientError, SendState};
use kv_core::{Answer, Command as Step, CommandResult, Done, Key, Operation, RequestOptions};
use tokio::task::JoinSet;

use super::wait::{LinesDropped, WaitMode};
use crate::args::start::Defaults;
use crate::commands::command::{PutInput, Request};
use crate::commands::usage::UsageError;
use crate::output::exit::ExitStatus;
use crate::output::finished::{Effect, Failure, Interrupted, Success};
use crate::output::text::keys;
use crate::session::{Mode, Session, Work};
use crate::shell::input;

impl Session {
    pub(super) async fn request(&mut self, request: Request, timeout: Duration) -> Work {
        let client = self.client.clone();
        let (name, key) = (request.name, request.key.clone());
        let is_read_only = request.operation.is_read_only();
        let send_state = SendState::default();
        let work = execute(&client, request, timeout, send_state.clone());
        let result = self.wait_for(WaitMode::Request, work).await;
        let effect = || match send_state.revoke() {
            true => Effect::NotSent,
            false if is_read_only => Effect::None,
            false => Effect::Possible,
        };
        Work::Ended(name, Some(key), ended(result, effect))
    }

    /// Reads several keys at the same time and prints what each holds, in order.
    pub(super) async fn each(
        &mut self,
        requests: Vec<Request>,
        defaults: Defaults,
    ) -> io::Result<Work> {
        let begin = Instant::now();
        let heads: Vec<_> = requests.iter().map(|one| (one.name, one.key.clone())).collect();
        let mut results: Vec<Option<Result<Success, ClientError>>> = Vec::new();
        results.resize_with(requests.len(), || None);
        let mut reads = JoinSet::new();
        for (place, request) in requests.into_iter().enumerate() {
            let (client, timeout) = (self.client.clone(), defaults.timeout);
            reads.spawn(async move {
                (place, execute(&client, request, timeout, SendState::default()).await)
            });
        }
        let all_read = async {
            while let Some(read) = reads.join_next().await {
                if let Ok((place, result)) = read
                    && let Some(slot) = results.get_mut(place)
                {
                    *slot = Some(result);
                }
            }
        };
        let waited = self.wait_for(WaitMode::Request, all_read).await;
        if let Err(LinesDropped(lines_dropped)) = waited {
            let interrupted = Interrupted { effect: Effect::None, lines_dropped };
            let name = heads.first().map_or("get", |(name, _)| name);
            return Ok(Work::Ended(name, None, Err(Failure::Interrupted(interrupted))));
        }
        let mut status = ExitStatus::Done;
        for ((name, key), result) in heads.into_iter().zip(results) {
            let result = result.unwrap_or(Err(ClientError::Stopped)).map_err(Failure::Error);
            let finished = self.ended(name, Some(key), true, begin, result);
            status = status.or_later(self.print(finished, defaults)?);
        }
        Ok(Work::Told(status))
    }

    /// Removes all keys that begin with `prefix`, page by page.
    pub(super) async fn delete_prefix(
        &mut self,
        prefix: &[u8],
        options: RequestOptions,
        timeout: Duration,
    ) -> Work {
        let client = self.client.clone();
        let options = options.with_timeout(timeout);
        let mut count = 0;
        let work = delete_all(&client, prefix, &options, &mut count);
        let result = self.wait_for(WaitMode::Request, work).await;
        let result = match result {
            Ok(Err(error)) if count > 0 => {
                // What was removed stays removed, whatever the rest comes to.
                self.screen.note(&format!("{} removed before this:", keys(count)));
                Ok(Err(error))
            }
            Ok(result) => Ok(result.map(|()| Success::Removed(count))),
            Err(dropped) => Err(dropped),
        };
        Work::Ended("delete", None, ended(result, || Effect::Possible))
    }

    pub(super) async fn value_from_input(&self, put: PutInput) -> Result<Request, UsageError> {
        if self.mode != Mode::One {
            return Err(UsageError::InputTaken);
        }
        let read = tokio::task::spawn_blocking(input::whole_value).await;
        let stopped = |_| io::Error::from(io::ErrorKind::Interrupted);
        let value = read.map_err(stopped).and_then(|value| value);
        put.with(value.map_err(|error| UsageError::InputUnreadable(error.kind()))?)
    }
}

/// How a command ended that Ctrl-C may have interrupted.
pub(super) fn ended(
    result: Result<Result<Success, ClientError>, LinesDropped>,
    effect: impl FnOnce() -> Effect,
) -> Result<Success, Failure> {
    match result {
        Ok(result) => result.map_err(Failure::Error),
        Err(LinesDropped(lines_dropped)) => {
            Err(Failure::Interrupted(Interrupted { effect: effect(), lines_dropped }))
        }
    }
}

pub(super) async fn execute(
    client: &Client,
    request: Request,
    timeout: Duration,
    send_state: SendState,
) -> Result<Success, ClientError> {
    let options = request.options.with_timeout(timeout);
    let done = client.execute_revocable(request.operation, options, send_state).await?;
    Ok(success(request.asks_existence, done))
}

/// What the answer to one command means.
pub(super) fn success(asks_existence: bool, mut done: Done) -> Success {
    if !asks_existence {
        return Success::Done(done);
    }
    let is_found = matches!(&done.answer, Answer::Results(results)
        if matches!(results.as_slice(), [CommandResult::Value(Some(_))]));
    // What it holds was not asked for.
    done.answer = Answer::Results(Vec::new());
    Success::Existence(is_found, done)
}

/// Counts what it has removed in `count`.
async fn delete_all(
    client: &Client,
    prefix: &[u8],
    options: &RequestOptions,
    count: &mut u64,
) -> Result<(), ClientError> {
    let mut lookup = options.clone();
    lookup.write_quorum = None;
    let mut pages = client.scan_pages(prefix, lookup);
    while let Some(page) = pages.next().await? {
        let mut deletes = JoinSet::new();
        for (key, held) in page {
            // Else the delete might be stamped before what the page has shown (eventual engine).
            let options = options.clone().with_seen(held.version);
            deletes.spawn(delete(client.clone(), key, options));
        }
        let mut first_failure = None;
        while let Some(ended) = deletes.join_next().await {
            match ended.unwrap_or(Err(ClientError::Stopped)) {
                Ok(()) => *count += 1,
                Err(error) => {
                    first_failure.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first_failure {
            return Err(error);
        }
    }
    Ok(())
}

async fn delete(client: Client, key: Key, options: RequestOptions) -> Result<(), ClientError> {
    client.execute(Operation::of(Step::Delete { key }), options).await.map(drop)
}
