//! HPACK (RFC 7541), of a connection that is not seen as a whole: header blocks may be missing, and with them
//! what they put into the dynamic table.
//!
//! Its indices count from the newest entry, so those that were seen are resolved exactly, and any other is not
//! known. Entries are never evicted here: what the encoder has evicted it does not refer to.

use std::rc::Rc;

use super::huffman;

/// Text of a field; `None` where it is not known.
pub(super) type Text = Option<Rc<[u8]>>;

/// A field of a header block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub name: Text,
    pub value: Text,
}

/// The fields of a header block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub fields: Vec<Field>,
    /// All of them, and all known by name.
    pub whole: bool,
}

impl Fields {
    /// The value of the first field of this name, where both are known.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        let field = self
            .fields
            .iter()
            .find(|field| field.name.as_deref() == Some(name))?;
        field.value.as_deref()
    }
}

/// The dynamic table, as far as it was seen to be filled.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Newest last.
    entries: Vec<Field>,
    /// Its size, where a block has said it.
    size: Option<usize>,
}

/// The size of a table of which nothing was said, and what an entry takes beside its texts (section 4).
const SIZE: usize = 4096;
const OVERHEAD: usize = 32;

/// What stands in a header block.
enum Item {
    Field(Field),
    /// One that is added to the table.
    Added(Field),
    /// The table has a size from now on.
    Size(usize),
}

/// Most fields of one block: each has a byte at least.
const FIELDS: usize = 256;

impl Table {
    /// Reads a header block, of which there was more if it is `cut`.
    pub fn read(&mut self, block: &[u8], cut: bool) -> Fields {
        let mut rest = block;
        let mut fields = Vec::new();
        let mut whole = !cut;
        while !rest.is_empty() && fields.len() < FIELDS {
            let Some(item) = self.item(&mut rest) else {
                whole = false;
                break;
            };
            let field = match item {
                Item::Size(size) => {
                    self.size = Some(size);
                    continue;
                }
                Item::Added(field) => {
                    self.add(field.clone());
                    field
                }
                Item::Field(field) => field,
            };
            whole &= field.name.is_some();
            fields.push(field);
        }
        if cut || !rest.is_empty() {
            // How many entries the rest added is not known, and so no older entry's place.
            self.entries.clear();
            whole = false;
        }
        Fields { fields, whole }
    }

    /// Reads what is there of a header block that adds nothing.
    pub fn look(&self, block: &[u8]) -> Fields {
        let mut rest = block;
        let mut fields = Vec::new();
        while !rest.is_empty() {
            match self.item(&mut rest) {
                Some(Item::Field(field) | Item::Added(field)) => fields.push(field),
                Some(Item::Size(_)) => {}
                None => break,
            }
        }
        let whole = rest.is_empty() && fields.iter().all(|field| field.name.is_some());
        Fields { fields, whole }
    }

    /// An entry that is larger than the table empties it (section 4.4).
    fn add(&mut self, field: Field) {
        let length = |text: &Text| text.as_ref().map_or(0, |text| text.len());
        if length(&field.name) + length(&field.value) + OVERHEAD > self.size.unwrap_or(SIZE) {
            self.entries.clear();
        } else {
            self.entries.push(field);
        }
    }

    /// The next field, or a change of the table's size.
    fn item(&self, rest: &mut &[u8]) -> Option<Item> {
        let first = *rest.first()?;
        if first & 0x80 != 0 {
            return Some(Item::Field(self.indexed(integer(rest, 7)?)?));
        }
        if first & 0xe0 == 0x20 {
            return Some(Item::Size(integer(rest, 5)?));
        }
        let adds = first & 0x40 != 0;
        let index = integer(rest, if adds { 6 } else { 4 })?;
        let name = if index == 0 {
            Some(string(rest)?.into())
        } else {
            self.indexed(index)?.name
        };
        let field = Field {
            name,
            value: Some(string(rest)?.into()),
        };
        Some(if adds {
            Item::Added(field)
        } else {
            Item::Field(field)
        })
    }

    /// `None` for the one index that nothing has.
    fn indexed(&self, index: usize) -> Option<Field> {
        const UNKNOWN: Field = Field {
            name: None,
            value: None,
        };
        if let Some((name, value)) = STATIC.get(index.checked_sub(1)?) {
            return Some(Field {
                name: Some(name.as_bytes().into()),
                value: Some(value.as_bytes().into()),
            });
        }
        let age = index - STATIC.len();
        let known = self
            .entries
            .len()
            .checked_sub(age)
            .and_then(|at| self.entries.get(at));
        Some(known.cloned().unwrap_or(UNKNOWN))
    }
}

/// An integer with so many bits in its first byte (section 5.1). Larger ones than any index, or any length
/// of what was captured, are none.
fn integer(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let (&first, mut bytes) = rest.split_first()?;
    let most = (1 << bits) - 1;
    let mut value = usize::from(first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (&byte, more) = bytes.split_first()?;
            bytes = more;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift > 21 {
                return None;
            }
        }
    }
    *rest = bytes;
    Some(value)
}

/// A string (section 5.2).
fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let coded = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (text, more) = rest.split_at_checked(length)?;
    *rest = more;
    if coded {
        huffman::decode(text)
    } else {
        Some(text.into())
    }
}

/// Appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(fields: &Fields) -> Vec<String> {
        let show = |text: &Text| {
            text.as_deref()
                .map_or("?".to_owned(), |text| String::from_utf8_lossy(text).into_owned())
        };
        fields
            .fields
            .iter()
            .map(|field| format!("{}={}", show(&field.name), show(&field.value)))
            .collect()
    }

    /// RFC 7541 appendix C.4: three requests on one connection.
    const FIRST: &[u8] = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    const SECOND: &[u8] = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
    const THIRD: &[u8] =
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";

    #[test]
    fn given_the_requests_of_the_rfc_when_read_in_order_then_every_field_is_known() {
        let mut table = Table::default();
        table.read(FIRST, false);
        let second = table.read(SECOND, false);
        let third = table.read(THIRD, false);
        assert!(second.whole && third.whole);
        assert_eq!(
            text(&third),
            [
                ":method=GET",
                ":scheme=https",
                ":path=/index.html",
                ":authority=www.example.com",
                "custom-key=custom-value"
            ]
        );
        assert_eq!(text(&second)[3], ":authority=www.example.com");
    }

    #[test]
    fn given_a_beginning_that_was_not_seen_when_read_then_only_what_it_added_is_unknown() {
        let mut table = Table::default();
        let second = table.read(SECOND, false);
        assert!(!second.whole);
        assert_eq!(
            text(&second),
            [
                ":method=GET",
                ":scheme=http",
                ":path=/",
                "?=?",
                "cache-control=no-cache"
            ]
        );
        assert_eq!(
            text(&table.read(b"\xbe\xbf", false)),
            ["cache-control=no-cache", "?=?"]
        );
    }

    #[test]
    fn given_a_block_that_was_cut_when_read_then_older_entries_have_no_place_any_more() {
        let mut table = Table::default();
        table.read(FIRST, false);
        table.read(SECOND, false);
        let cut = table.read(&THIRD[..9], true);
        assert_eq!(
            text(&cut),
            [
                ":method=GET",
                ":scheme=https",
                ":path=/index.html",
                ":authority=www.example.com"
            ]
        );
        assert_eq!(text(&table.read(b"\xbe", false)), ["?=?"]);
    }

    fn status(block: &[u8]) -> Option<String> {
        let fields = Table::default().look(block).fields;
        let value = fields.first()?.value.as_deref()?;
        Some(String::from_utf8_lossy(value).into())
    }

    #[test]
    fn given_the_beginning_of_a_response_when_its_status_is_read_then_it_is_the_one_that_needs_no_table() {
        let table: &[(&[u8], Option<&str>)] = &[
            (b"\x88\x5f", Some("200")),
            (b"\x8e", Some("500")),
            (b"\x48\x03503", Some("503")),
            (b"\x08\x82\x64\x02", Some("302")),
            (b"\x3f\xe1\x1f\x88", Some("200")),
            (b"\xbe", None),
            (b"\x48\x03", None),
            (b"\x48\x0310", None),
            (b"", None),
        ];
        for &(block, expected) in table {
            assert_eq!(status(block).as_deref(), expected, "{block:x?}");
        }
    }

    #[test]
    fn given_an_entry_larger_than_the_table_when_added_then_nothing_is_left_of_it() {
        let mut table = Table::default();
        table.read(b"\x40\x01a\x01b", false);
        table.read(b"\x3f\x21\x40\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x01b", false);
        assert_eq!(table.look(b"\xbe").fields[0].name, None);
        table.read(b"\x40\x01c\x01d", false);
        assert_eq!(table.look(b"\xbe").value(b"c"), Some(&b"d"[..]));
        assert_eq!(table.look(b"\xbf").fields[0].name, None);
    }

    proptest! {
        #[test]
        fn given_any_blocks_when_read_then_nothing_panics_and_no_entry_is_longer_than_its_block(
            blocks in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), any::<bool>()), 0..20),
        ) {
            let mut table = Table::default();
            for (block, cut) in blocks {
                let fields = table.read(&block, cut);
                prop_assert!(fields.fields.len() <= block.len());
                prop_assert!(!(cut && fields.whole));
                let fields = table.look(&block);
                prop_assert!(fields.fields.len() <= block.len());
            }
            prop_assert!(table.entries.len() <= 20 * 40);
        }
    }
}
