//! Protocols in which a message need not be answered, or not before others: known by the shape of what
//! was asked, from their own texts. Turn-taking says nothing of them.
//!
//! Taking another protocol for one of these costs evidence; missing one invents a severed request. So the
//! shapes are wide.

/// Whether the bytes, the first of `total`, begin with a message that need not be answered in turn.
pub(super) fn begins(bytes: &[u8], total: u64) -> bool {
    const SHAPES: &[fn(&[u8], u64) -> bool] = &[
        http2, amqp_0_9_1, amqp_1_0, mqtt, redis, kafka, mongodb, mysql, postgresql, cassandra, memcached,
        text,
    ];
    SHAPES.iter().any(|is| is(bytes, total))
}

fn be32(bytes: &[u8], at: usize) -> Option<u64> {
    let four = bytes.get(at..at.checked_add(4)?)?.first_chunk()?;
    Some(u32::from_be_bytes(*four).into())
}

fn le32(bytes: &[u8], at: usize) -> Option<u64> {
    let four = bytes.get(at..at.checked_add(4)?)?.first_chunk()?;
    Some(u32::from_le_bytes(*four).into())
}

/// HTTP/2 (RFC 9113 section 4.1): its preface, or a frame whose type, length and stream agree.
fn http2(bytes: &[u8], _: u64) -> bool {
    if bytes.starts_with(b"PRI * HTTP/2.0") {
        return true;
    }
    let &[high, middle, low, kind, flags, s0, s1, s2, s3, ..] = bytes else {
        return false;
    };
    let length = u32::from_be_bytes([0, high, middle, low]);
    let stream = u32::from_be_bytes([s0, s1, s2, s3]);
    match kind {
        // DATA, HEADERS, CONTINUATION of a stream that the client began.
        0 | 1 | 9 => length <= 1 << 20 && stream % 2 == 1 && stream < 1 << 24 && flags & 0xd2 == 0,
        2 => length == 5 && stream != 0 && flags == 0,
        3 => length == 4 && stream != 0 && flags == 0,
        4 => length.is_multiple_of(6) && length <= 600 && stream == 0 && flags & 0xfe == 0,
        6 => length == 8 && stream == 0 && flags & 0xfe == 0,
        7 => (8..=1 << 14).contains(&length) && stream == 0 && flags == 0,
        8 => length == 4 && stream < 1 << 31 && flags == 0,
        16 => (4..=1 << 10).contains(&length) && stream == 0 && flags == 0,
        _ => false,
    }
}

/// AMQP 0-9-1, section 4.2.2: type, channel, size, payload, 0xCE. Acknowledgements, publishes and heartbeats
/// have no answer, deliveries come unasked.
fn amqp_0_9_1(bytes: &[u8], _: u64) -> bool {
    if bytes.starts_with(b"AMQP") {
        return true;
    }
    let (&[kind @ (1..=3 | 8), ..], Some(size)) = (bytes, be32(bytes, 3)) else {
        return false;
    };
    let end = usize::try_from(size)
        .ok()
        .and_then(|size| bytes.get(size.checked_add(7)?));
    match end {
        Some(end) => *end == 0xce,
        None => kind == 3 && size <= 1 << 20,
    }
}

/// AMQP 1.0, section 2.3.1: size, data offset 2, type AMQP or SASL; then a described type, or nothing.
fn amqp_1_0(bytes: &[u8], _: u64) -> bool {
    let &[_, _, _, _, 2, 0 | 1, _, _, ..] = bytes else {
        return false;
    };
    be32(bytes, 0).is_some_and(|size| size == 8 || size <= 1 << 24 && bytes.get(8) == Some(&0))
}

/// MQTT, section 2.1: `PUBLISH` asks for nothing at `QoS` 0, and acknowledgements and `DISCONNECT` never do.
fn mqtt(bytes: &[u8], total: u64) -> bool {
    let Some((&first, rest)) = bytes.split_first() else {
        return false;
    };
    let mut length: u64 = 0;
    let mut used: u64 = 1;
    for (index, &byte) in rest.iter().take(4).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        used += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let fits = used + length <= total;
    match first >> 4 {
        // `CONNECT`, `SUBSCRIBE`, `UNSUBSCRIBE` and `PINGREQ` are answered, but anything may come before that.
        1 => rest
            .windows(4)
            .take(8)
            .any(|name| name == b"MQTT" || name == b"MQIs"),
        3 => {
            let topic = usize::try_from(used).ok().and_then(|at| bytes.get(at..at + 2));
            topic.is_some_and(|length_of| {
                let topic = u64::from(u16::from_be_bytes([length_of[0], length_of[1]]));
                topic > 0 && topic + 2 <= length && topic <= 1024
            })
        }
        4 | 5 | 7 => first.trailing_zeros() >= 4 && (2..128).contains(&length) && fits,
        6 => first & 15 == 2 && (2..128).contains(&length) && fits,
        _ => false,
    }
}

/// Redis: commands that wait for what may never come, or have no reply.
fn redis(bytes: &[u8], _: u64) -> bool {
    const WAITING: &[&[u8]] = &[
        b"BLPOP",
        b"BRPOP",
        b"BRPOPLPUSH",
        b"BLMOVE",
        b"BLMPOP",
        b"BZPOPMIN",
        b"BZPOPMAX",
        b"BZMPOP",
        b"SUBSCRIBE",
        b"PSUBSCRIBE",
        b"SSUBSCRIBE",
        b"MONITOR",
        b"PSYNC",
        b"SYNC",
        b"REPLCONF",
        b"WAIT",
        b"WAITAOF",
        b"QUIT",
    ];
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let (Some([b'*', ..]), Some([b'$', ..]), Some(command)) = (lines.next(), lines.next(), lines.next())
    else {
        return false;
    };
    let command = command.trim_ascii_end().to_ascii_uppercase();
    let blocks = || bytes.windows(5).any(|word| word.eq_ignore_ascii_case(b"BLOCK"));
    WAITING.contains(&&command[..]) || command.starts_with(b"XREAD") && blocks()
}

/// Kafka's request header: length, key and version of the API, correlation id, client id. A fetch waits, and
/// a produce may ask for no answer.
fn kafka(bytes: &[u8], total: u64) -> bool {
    let (Some(length), Some(&[key_high, key, version_high, version])) = (be32(bytes, 0), bytes.get(4..8))
    else {
        return false;
    };
    let client = bytes.get(12..14).map(|two| i16::from_be_bytes([two[0], two[1]]));
    key_high == 0
        && key <= 92
        && version_high == 0
        && version <= 20
        && length >= 10
        && length + 4 <= total
        && client.is_some_and(|length| (-1..=255).contains(&length))
}

/// `MongoDB`: `OP_MSG` that says that more comes, or lets the server go on; the legacy writes.
fn mongodb(bytes: &[u8], _: u64) -> bool {
    const MORE_TO_COME: u64 = 1 << 1;
    const EXHAUST_ALLOWED: u64 = 1 << 16;
    match (le32(bytes, 0), le32(bytes, 12)) {
        (Some(16..=0x0300_0000), Some(2013)) => {
            le32(bytes, 16).is_some_and(|flags| flags & (MORE_TO_COME | EXHAUST_ALLOWED) != 0)
        }
        (Some(16..=0x0300_0000), Some(opcode)) => matches!(opcode, 2001 | 2002 | 2006 | 2007),
        _ => false,
    }
}

/// `MySQL`: packets that have no answer (`COM_QUIT`, `COM_STMT_SEND_LONG_DATA`, `COM_STMT_CLOSE`), or an endless
/// one (`COM_BINLOG_DUMP` and its like), and nothing behind them.
fn mysql(mut bytes: &[u8], mut total: u64) -> bool {
    loop {
        let &[low, middle, high, 0, 0x01 | 0x12 | 0x18 | 0x19 | 0x1e, ..] = bytes else {
            return false;
        };
        let length = 4 + u64::from(u32::from_le_bytes([low, middle, high, 0]));
        if length < 5 || length > total {
            return false;
        }
        total -= length;
        if total == 0 {
            return true;
        }
        match usize::try_from(length)
            .ok()
            .and_then(|length| bytes.get(length..))
        {
            Some(rest) => bytes = rest,
            None => return true,
        }
    }
}

/// `PostgreSQL`: Terminate, or what a standby tells of itself, and nothing behind them.
fn postgresql(mut bytes: &[u8], mut total: u64) -> bool {
    loop {
        let (Some(&kind), Some(length)) = (bytes.first(), be32(bytes, 1)) else {
            return false;
        };
        let of_standby = kind == b'd' && matches!(bytes.get(5), Some(b'r' | b'h'));
        if !(kind == b'X' && length == 4 || of_standby && (21..=64).contains(&length)) {
            return false;
        }
        let Some(left) = total.checked_sub(1 + length) else {
            return false;
        };
        total = left;
        match usize::try_from(1 + length).ok().and_then(|at| bytes.get(at..)) {
            Some(rest) if total > 0 => bytes = rest,
            _ => return true,
        }
    }
}

/// Cassandra's native protocol, versions 3 to 5: streams share a connection.
fn cassandra(bytes: &[u8], total: u64) -> bool {
    let (
        &[
            3..=5,
            0..=0x1f,
            _,
            _,
            0x01 | 0x05 | 0x07 | 0x09..=0x0b | 0x0d | 0x0f,
            ..,
        ],
        Some(length),
    ) = (bytes, be32(bytes, 5))
    else {
        return false;
    };
    length + 9 <= total
}

/// memcached: commands that say `noreply`, the binary protocol's quiet ones.
fn memcached(bytes: &[u8], _: u64) -> bool {
    if let &[0x80, 0x09 | 0x0d | 0x11..=0x1a, ..] = bytes {
        return true;
    }
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.trim_ascii_end().ends_with(b" noreply")
}

/// Lines that are told, not asked: NATS, STOMP, FIX, XMPP, syslog (RFC 5424 section 6.2.1).
fn text(bytes: &[u8], _: u64) -> bool {
    const BEGINNINGS: &[&[u8]] = &[
        b"PUB ",
        b"HPUB ",
        b"SUB ",
        b"UNSUB ",
        b"PONG\r\n",
        b"CONNECT {",
        b"SEND\n",
        b"ACK\n",
        b"NACK\n",
        b"SUBSCRIBE\n",
        b"DISCONNECT\n",
        b"8=FIX",
        b"<message",
        b"<presence",
        b"<iq",
        b"<r ",
        b"<a ",
        b"SSH-",
    ];
    if BEGINNINGS.iter().any(|beginning| bytes.starts_with(beginning)) {
        return true;
    }
    let Some(priority) = bytes.strip_prefix(b"<") else {
        return false;
    };
    let digits = priority.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=3).contains(&digits) && priority.get(digits) == Some(&b'>')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn given_a_message_that_need_not_be_answered_then_it_is_known_by_its_shape() {
        let settings_and_window = [frame(4, 1, 0, &[]), frame(8, 0, 0, &[0, 0, 1, 0])].concat();
        let publish = b"\x30\x0d\x00\x05topichello!";
        let table: &[(&str, &[u8])] = &[
            ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            ("HTTP/2 SETTINGS ACK, WINDOW_UPDATE", &settings_and_window),
            ("HTTP/2 PING ACK", &frame(6, 1, 0, &[7; 8])),
            ("HTTP/2 HEADERS", &frame(1, 5, 3, b"\x82\x84\x86")),
            ("HTTP/2 GOAWAY", &frame(7, 0, 0, &[0; 8])),
            ("AMQP heartbeat", b"\x08\0\0\0\0\0\0\xce"),
            (
                "AMQP basic.ack",
                b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x01\0\xce",
            ),
            ("AMQP 1.0 empty frame", b"\0\0\0\x08\x02\0\0\0"),
            ("MQTT PUBLISH, QoS 0", publish),
            ("MQTT PUBACK", b"\x40\x02\x00\x01"),
            ("Redis BRPOP", b"*3\r\n$5\r\nbrpop\r\n$6\r\ncelery\r\n$1\r\n1\r\n"),
            (
                "Redis XREADGROUP BLOCK",
                b"*4\r\n$10\r\nXREADGROUP\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n",
            ),
            (
                "Redis replica",
                b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$2\r\n14\r\n",
            ),
            (
                "Kafka fetch",
                b"\0\0\0\x12\0\x01\0\x0b\0\0\0\x07\0\x03abc\0\0\0\0\0",
            ),
            ("MySQL COM_STMT_CLOSE", b"\x05\0\0\0\x19\x01\0\0\0"),
            ("MySQL COM_QUIT", b"\x01\0\0\0\x01"),
            (
                "MySQL COM_STMT_SEND_LONG_DATA",
                b"\x0b\0\0\0\x18\x01\0\0\0\0\0long",
            ),
            ("PostgreSQL Terminate", b"X\0\0\0\x04"),
            ("memcached noreply", b"set key 0 0 5 noreply\r\nhello\r\n"),
            ("NATS", b"PUB orders 5\r\nhello\r\n"),
            ("syslog", b"<34>1 2026-01-01T00:00:00Z host app - - - started\n"),
        ];
        for (name, bytes) in table {
            assert!(begins(bytes, bytes.len() as u64), "{name}");
        }
    }

    #[test]
    fn given_a_question_that_is_answered_then_it_is_none_of_them() {
        let query = b"\x21\0\0\0\x03select sleep(10) from information_s";
        let msg = [
            &b"\x40\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0"[..],
            &[b'x'; 43],
        ]
        .concat();
        let table: &[(&str, &[u8])] = &[
            ("nothing", b""),
            ("MySQL COM_QUERY", query),
            (
                "MySQL COM_STMT_CLOSE, COM_QUERY",
                b"\x05\0\0\0\x19\x01\0\0\0\x09\0\0\0\x03select 1",
            ),
            ("PostgreSQL Query", b"Q\0\0\0\x16select pg_sleep(10)\0"),
            ("PostgreSQL Parse", b"P\0\0\0\x1d\0select pg_sleep($1)\0\0\0D\0\0"),
            ("Redis GET", b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"),
            ("MongoDB OP_MSG", &msg),
            ("memcached get", b"get some_rather_long_key_of_an_application\r\n"),
            ("a line", b"please answer this line, which is long enough\n"),
            ("XML", b"<?xml version=\"1.0\"?><methodCall/>"),
        ];
        for (name, bytes) in table {
            assert!(!begins(bytes, bytes.len() as u64), "{name}");
        }
    }
}
