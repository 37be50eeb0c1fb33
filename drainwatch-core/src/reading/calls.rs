//! Calls to databases and caches: what a turn held of them, as exchanges.

use super::{Context, Reading, Session};
use crate::{
    exchange::{
        Database, Doubt, Evidence, Exchange, ExchangeState, Message, Operation, Protocol, TRANSACTION,
    },
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
        use ExchangeState::{Complete, Transaction, Unanswered};
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
        let exchange = |(index, call): (usize, &Call)| {
            let operation = Operation::Database(Database {
                operation: call.operation.map(str::to_owned),
            });
            let mut exchange = exchange(turn, index, protocol, operation, call.state);
            if self.asides && matches!(call.state, Complete | Transaction) {
                exchange.last_ns = turn.message_first_ns;
            }
            exchange
        };
        Reading {
            exchanges: self.asked.iter().enumerate().map(exchange).collect(),
            session: Session {
                goodbye: self.goodbye,
            },
        }
    }
}

/// One exchange of a turn, as far as its state says it all.
pub(super) fn exchange(
    turn: &Turn,
    index: usize,
    protocol: Protocol,
    operation: Operation,
    state: ExchangeState,
) -> Exchange {
    use ExchangeState::{Complete, Opaque, Transaction, Unanswered, Unknown};
    Exchange {
        id: turn.id(index),
        protocol,
        operation,
        evidence: if state == Opaque {
            Evidence::Inferred
        } else {
            Evidence::Exact
        },
        state,
        doubt: (state == Unknown).then_some(Doubt::Gap),
        uploading: false,
        reset: false,
        unread: false,
        started_ns: turn.ask_first_ns,
        last_ns: match state {
            Complete | Transaction => turn.answer_last_ns,
            Unanswered => turn.ask_last_ns,
            _ => turn.last_ns(),
        },
    }
}

/// A message, or several, of one turn: what is done with it, where, and how far it came.
pub(super) fn messages(
    turn: &Turn,
    protocol: Protocol,
    messages: impl IntoIterator<Item = (Option<&'static str>, Option<String>, ExchangeState)>,
) -> Reading {
    let exchange = |(index, (operation, destination, state))| {
        let operation = Operation::Message(Message {
            operation: Option::map(operation, str::to_owned),
            destination,
        });
        exchange(turn, index, protocol, operation, state)
    };
    let numbered = messages.into_iter().take(MOST).enumerate();
    Reading::of(numbered.map(exchange).collect())
}

/// The client has said that it leaves.
pub(super) fn goodbye() -> Reading {
    Reading {
        session: Session { goodbye: true },
        ..Reading::default()
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
