//! Calls to databases and caches: what a turn held of them, as exchanges.

use super::{Context, Reading, Session};
use crate::{
    exchange::{Database, Doubt, Evidence, Exchange, ExchangeState, Operation, Protocol, TRANSACTION},
    record::Turn,
};

/// Most calls of one turn that are told apart; what is pipelined beyond is not counted.
pub(super) const MOST: usize = 60;

/// Something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// What, as reports name it.
    pub operation: Option<&'static str>,
    /// How far it came.
    pub state: ExchangeState,
}

/// How a turn stands of which the calls are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Calls {
    /// In the order in which they were asked.
    pub asked: Vec<Call>,
    /// The last answer says that a transaction is open.
    pub transaction: bool,
    /// The client has said that it leaves.
    pub goodbye: bool,
    /// The last bytes were of no answer: when the last one ended is not known, only when it had begun.
    pub asides: bool,
}

impl Calls {
    /// Whether an answer is still to come.
    pub fn outstanding(&self) -> bool {
        let is = |call: &Call| {
            use ExchangeState::{RequestIncomplete, ResponseIncomplete, Unanswered};
            matches!(call.state, RequestIncomplete | ResponseIncomplete | Unanswered)
        };
        self.asked.iter().any(is)
    }

    /// As a reading. More than `least` bytes that the answering process has not read are a call that it has not
    /// begun.
    pub fn reading(mut self, turn: &Turn, context: &Context<'_>, protocol: Protocol, least: u64) -> Reading {
        use ExchangeState::{Complete, Opaque, Transaction, Unanswered};
        self.asked.truncate(MOST);
        let outstanding = self.outstanding();
        if !outstanding && !self.goodbye && context.ask_unread > least {
            self.asked.push(Call {
                operation: None,
                state: Unanswered,
            });
        } else if self.transaction && !outstanding && !self.goodbye {
            self.asked.push(Call {
                operation: Some(TRANSACTION),
                state: Transaction,
            });
        }
        let exchange = |(index, call): (usize, &Call)| Exchange {
            id: turn.id(index),
            protocol,
            operation: Operation::Database(Database {
                operation: call.operation.map(str::to_owned),
            }),
            evidence: if call.state == Opaque {
                Evidence::Inferred
            } else {
                Evidence::Exact
            },
            state: call.state,
            doubt: (call.state == ExchangeState::Unknown).then_some(Doubt::Gap),
            uploading: false,
            unread: false,
            started_ns: turn.ask_first_ns,
            last_ns: match call.state {
                Complete | Transaction if self.asides => turn.message_first_ns,
                Complete | Transaction => turn.answer_last_ns,
                Unanswered => turn.ask_last_ns,
                _ => turn.last_ns(),
            },
        };
        Reading {
            exchanges: self.asked.iter().enumerate().map(exchange).collect(),
            session: Session {
                goodbye: self.goodbye,
            },
        }
    }
}

/// One call of which only this is known.
pub(super) fn one(state: ExchangeState) -> Calls {
    Calls {
        asked: vec![Call {
            operation: None,
            state,
        }],
        ..Calls::default()
    }
}

/// The first word of a statement, where it is one that statements begin with: nothing else of them is shown.
pub(super) fn first_word(statement: &[u8]) -> Option<&'static str> {
    const WORDS: &[&str] = &[
        "ALTER",
        "ANALYZE",
        "BEGIN",
        "CALL",
        "CHECKPOINT",
        "CLOSE",
        "COMMIT",
        "COPY",
        "CREATE",
        "DEALLOCATE",
        "DECLARE",
        "DELETE",
        "DISCARD",
        "DO",
        "DROP",
        "END",
        "EXECUTE",
        "EXPLAIN",
        "FETCH",
        "FLUSH",
        "GRANT",
        "INSERT",
        "KILL",
        "LISTEN",
        "LOAD",
        "LOCK",
        "MERGE",
        "NOTIFY",
        "OPTIMIZE",
        "PREPARE",
        "REFRESH",
        "REINDEX",
        "RELEASE",
        "REPLACE",
        "RESET",
        "REVOKE",
        "ROLLBACK",
        "SAVEPOINT",
        "SELECT",
        "SET",
        "SHOW",
        "START",
        "TABLE",
        "TRUNCATE",
        "UNLISTEN",
        "UNLOCK",
        "UPDATE",
        "USE",
        "VACUUM",
        "VALUES",
        "WITH",
    ];
    let statement = without_comments(statement);
    let length = statement
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let word = &statement[..length];
    WORDS
        .iter()
        .find(|known| known.as_bytes().eq_ignore_ascii_case(word))
        .copied()
}

/// Behind blanks, brackets and comments, which drivers and proxies put in front.
fn without_comments(mut statement: &[u8]) -> &[u8] {
    loop {
        statement = statement.trim_ascii_start();
        if let [b'(' | b';', rest @ ..] = statement {
            statement = rest;
        } else if statement.starts_with(b"/*") {
            let end = statement.windows(2).skip(2).position(|two| two == b"*/");
            statement = end.map_or(&[], |end| &statement[end + 4..]);
        } else if statement.starts_with(b"--") {
            let end = statement.iter().position(|byte| *byte == b'\n');
            statement = end.map_or(&[], |end| &statement[end..]);
        } else {
            return statement;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_statement_then_only_its_first_word_is_shown() {
        let table: &[(&str, Option<&str>)] = &[
            ("select * from users where name = 'x'", Some("SELECT")),
            ("  /* trace: 1 */ -- who\n Update t set a = 1", Some("UPDATE")),
            ("/**/(select 1)", Some("SELECT")),
            ("/*", None),
            ("/*/", None),
            ("--", None),
            ("hunter2", None),
            ("selects", None),
            ("", None),
        ];
        for (statement, word) in table {
            assert_eq!(first_word(statement.as_bytes()), *word, "{statement}");
        }
    }
}
