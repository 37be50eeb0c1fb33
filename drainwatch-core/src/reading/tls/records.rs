//! Records: type, version, length (RFC 8446 section 5.1).

/// Says that what follows is encrypted; of TLS 1.3 it says nothing.
const CHANGE_CIPHER_SPEC: u8 = 0x14;
/// Alerts, goodbyes among them.
pub(super) const ALERT: u8 = 0x15;
/// Handshakes.
pub(super) const HANDSHAKE: u8 = 0x16;
/// Data; in TLS 1.3 everything that is encrypted.
pub(super) const APPLICATION_DATA: u8 = 0x17;

/// Bytes before a record's payload.
pub(super) const HEADER: usize = 5;

/// A record, as far as its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub kind: u8,
    pub length: usize,
    /// All of it has moved.
    pub complete: bool,
}

/// The records of one direction of a turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// Those whose headers were kept.
    pub seen: Vec<Record>,
    /// There are no others.
    pub whole: bool,
    /// Bytes behind them.
    pub unseen: u64,
}

/// Whether the bytes begin like a record.
pub(super) fn begins(bytes: &[u8]) -> bool {
    matches!(bytes, [CHANGE_CIPHER_SPEC..=APPLICATION_DATA, 3, ..])
}

/// The records that begin in these bytes, the first of `total`.
pub(super) fn records(bytes: &[u8], total: u64) -> Records {
    let mut records = Records::default();
    let mut at = 0_usize;
    loop {
        records.unseen = total.saturating_sub(at as u64);
        records.whole = records.unseen == 0;
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(&[kind, major, _, high, low]) = rest.first_chunk::<HEADER>() else {
            return records;
        };
        if records.whole || !begins(&[kind, major]) {
            return records;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        at += HEADER + length;
        let complete = at as u64 <= total;
        records.seen.push(Record {
            kind,
            length,
            complete,
        });
    }
}
