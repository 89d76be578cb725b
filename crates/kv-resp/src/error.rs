//! Errors in Redis's own words, on which clients match, and those that Redis does not have.

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::{NotDone, Unknown};

/// Why a command failed. Its text begins with the word by which clients tell errors apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// There is no such command.
    #[error("ERR unknown command")]
    UnknownCommand {
        /// Its name and how it goes on, in Redis's form.
        text: Bytes,
    },
    /// There is no such subcommand.
    #[error("ERR unknown subcommand")]
    UnknownSubcommand {
        /// Its name and where there is help, in Redis's form.
        text: Bytes,
    },
    /// Too few or too many arguments.
    #[error("ERR wrong number of arguments for '{command}' command")]
    Arity {
        /// The command's name, with the subcommand's if there is one.
        command: &'static str,
    },
    /// An option that there is not, or options that exclude each other.
    #[error("ERR syntax error")]
    Syntax,
    /// An argument, or what a key holds, is no 64-bit integer.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// An argument is beyond 32 bits.
    #[error("ERR value is out of range, value must between -2147483648 and 2147483647")]
    NotAShortInteger,
    /// An argument, or what a key holds, is no number.
    #[error("ERR value is not a valid float")]
    NotAFloat,
    /// The sum is beyond 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// `DECRBY` of the least integer.
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    /// The sum is no number.
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
    /// A time to live that no key can have.
    #[error("ERR invalid expire time in '{command}' command")]
    ExpireTime {
        /// The command.
        command: &'static str,
    },
    /// `EXPIRE` with NX and another condition.
    #[error("ERR NX and XX, GT or LT options at the same time are not compatible")]
    ExpireNx,
    /// `EXPIRE` with GT and LT.
    #[error("ERR GT and LT options at the same time are not compatible")]
    ExpireGtLt,
    /// `EXPIRE` with another option.
    #[error("ERR Unsupported option {option}")]
    ExpireOption {
        /// The option.
        option: String,
    },
    /// An offset below 0.
    #[error("ERR offset is out of range")]
    Offset,
    /// A string would be larger than a value may be.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    TooLong,
    /// The key is missing that is to be renamed.
    #[error("ERR no such key")]
    NoSuchKey,
    /// `COPY` of a key to itself.
    #[error("ERR source and destination objects are the same")]
    SameObject,
    /// There is one database.
    #[error("ERR DB index is out of range")]
    Database,
    /// A cursor of `SCAN` that is no number, or none that this server gave.
    #[error("ERR invalid cursor")]
    Cursor,
    /// `LCS` with `LEN` and `IDX`.
    #[error("ERR If you want both the length and indexes, please just use IDX.")]
    LcsOptions,
    /// `LCS` of strings that are too long.
    #[error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")]
    LcsMemory,
    /// `MULTI` within `MULTI`.
    #[error("ERR MULTI calls can not be nested")]
    NestedMulti,
    /// `WATCH` within `MULTI`.
    #[error("ERR WATCH inside MULTI is not allowed")]
    WatchInMulti,
    /// `EXEC` or `DISCARD` without `MULTI`.
    #[error("ERR {command} without MULTI")]
    WithoutMulti {
        /// Which of them.
        command: &'static str,
    },
    /// `EXEC` after a command that was refused when it was queued.
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    ExecAbort,
    /// `EXEC` with more words.
    #[error(
        "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"
    )]
    ExecArity,
    /// A command that no transaction can hold.
    #[error("ERR Command not allowed inside a transaction")]
    NotInTransaction,
    /// `AUTH` with one word, where there is no password.
    #[error(
        "ERR AUTH <password> called without any password configured for the default user. Are you \
         sure your configuration is correct?"
    )]
    NoPassword,
    /// `AUTH` of a user that there is not.
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPassword,
    /// `HELLO` with another version.
    #[error("NOPROTO unsupported protocol version")]
    NoProtocol,
    /// `HELLO` with something that is no version.
    #[error("ERR Protocol version is not an integer or out of range")]
    ProtocolVersion,
    /// `HELLO` with another option.
    #[error("ERR Syntax error in HELLO option '{option}'")]
    HelloOption {
        /// The option.
        option: String,
    },
    /// A name of a client with spaces or line ends.
    #[error("ERR Client names cannot contain spaces, newlines or special characters.")]
    ClientName,
    /// `CLIENT KILL` of none.
    #[error("ERR No such client")]
    NoSuchClient,
    /// A setting that `CONFIG SET` cannot set.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")]
    ConfigSet {
        /// The setting.
        name: String,
    },
    /// The input is no request; the connection is closed.
    #[error("ERR Protocol error: {0}")]
    Protocol(#[from] crate::reader::ProtocolError),
    /// More clients than the server takes; the connection is closed.
    #[error("ERR max number of clients reached")]
    TooManyClients,
    /// The eventual engine does not keep such a promise.
    #[error("ERR '{command}' needs the linearizable engine")]
    NeedsLinearizable {
        /// The command, or an option of it.
        command: &'static str,
    },
    /// A key that the store does not take.
    #[error("ERR key of {size} bytes: 1 to {max} bytes are allowed", max = kv_core::Key::LEN_MAX)]
    Key {
        /// Its length in bytes.
        size: usize,
    },
    /// A command, or a transaction, with more keys than take effect together.
    #[error("ERR too many keys or commands at once: at most {max} are allowed")]
    TooManyKeys {
        /// How many they may be.
        max: usize,
    },
    /// A command, or a transaction, with more bytes than take effect together.
    #[error("ERR too large: keys and values at once have at most {max} bytes in all",
        max = kv_core::Batch::BYTES_MAX)]
    TooMuch,
    /// `KEYS` found more than is kept for one reply.
    #[error("ERR too many keys match: use SCAN")]
    TooManyFound,
    /// A pattern with so much to try that the other clients would wait.
    #[error("ERR the pattern takes too long to match")]
    PatternTime,
    /// `CLIENT KILL` of a user there is not: there is one, `default`.
    #[error("ERR No such user '{name}'")]
    ClientUser {
        /// The user.
        name: String,
    },
    /// `CLIENT LIST TYPE` of another type.
    #[error("ERR Unknown client type '{kind}'")]
    ClientType {
        /// The type.
        kind: String,
    },
    /// Others changed the same keys again and again. Nothing was done.
    #[error("TRYAGAIN others keep changing the same keys; nothing was done")]
    Contended,
    /// Other large requests take all memory that there is for them; the connection is closed.
    #[error("TRYAGAIN too many large requests are being sent; nothing was done")]
    LargeRequests,
    /// Nothing was done, since the cluster cannot, or not now.
    #[error("{}{reason}", prefix_of(reason))]
    NotDone {
        /// Why.
        reason: Box<NotDone>,
    },
    /// It may have been done, or may still.
    #[error("UNKNOWN {unknown}")]
    Unknown {
        /// What is known.
        unknown: Unknown,
    },
    /// An answer of the engine that does not fit the request. It may have been done.
    #[error("UNKNOWN the server's answer does not fit the command")]
    Unfit,
    /// A subcommand of `DEBUG` or the like with an argument that makes no sense.
    #[error("ERR {what}")]
    Other {
        /// Redis's words.
        what: &'static str,
    },
}

impl ReplyError {
    /// An error for a command that there is not; `words` begin with its name.
    #[must_use]
    pub fn unknown_command(words: &[Bytes]) -> Self {
        let mut text = BytesMut::new();
        text.put_slice(b"ERR unknown command '");
        let name = words.first().map_or(&[][..], |name| front(name, NAME_BYTES));
        text.put_slice(name);
        text.put_slice(b"', with args beginning with: ");
        let start = text.len();
        for word in words.iter().skip(1) {
            let used = text.len() - start;
            if used >= NAME_BYTES {
                break;
            }
            text.put_u8(b'\'');
            text.put_slice(front(word, NAME_BYTES - used));
            text.put_slice(b"' ");
        }
        Self::UnknownCommand { text: text.freeze() }
    }

    /// An error for a subcommand that there is not.
    #[must_use]
    pub fn unknown_subcommand(command: &str, subcommand: &[u8]) -> Self {
        let mut text = BytesMut::new();
        text.put_slice(b"ERR unknown subcommand '");
        text.put_slice(front(subcommand, NAME_BYTES));
        text.put_slice(b"'. Try ");
        text.put_slice(command.to_ascii_uppercase().as_bytes());
        text.put_slice(b" HELP.");
        Self::UnknownSubcommand { text: text.freeze() }
    }

    /// Appends the error's text.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        if let Self::UnknownCommand { text } | Self::UnknownSubcommand { text } = self {
            out.put_slice(text);
        } else {
            out.put_slice(self.to_string().as_bytes());
        }
    }
}

/// The word with which clients are told that the cluster cannot: one that they know from Redis
/// Cluster where it may be over in a moment.
fn prefix_of(reason: &NotDone) -> &'static str {
    if reason.is_transient() {
        "CLUSTERDOWN "
    } else if matches!(reason, NotDone::Overloaded { .. } | NotDone::TimedOut { .. }) {
        "TRYAGAIN "
    } else {
        "ERR "
    }
}

/// The first bytes of a text, which ends at a zero byte, as in C.
fn front(bytes: &[u8], max: usize) -> &[u8] {
    let bytes = bytes.get(..max).unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

/// So much of a wrong name is shown.
const NAME_BYTES: usize = 128;
