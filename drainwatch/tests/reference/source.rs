//! Types with their comments, as a source file has them, in the words of the JSON that they become.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use syn::{
    Attribute, Expr, Fields, GenericArgument, Ident, Item, Lit, LitStr, Meta, PathArguments, Token, Type,
    braced,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

/// Types of one or more files.
pub struct Source {
    items: Vec<Item>,
    /// What stands for a constant that a comment links to.
    constants: BTreeMap<&'static str, String>,
}

/// A key of an object, or a word of a closed list.
pub struct Entry {
    pub name: String,
    pub kind: String,
    pub doc: String,
}

impl Source {
    /// Reads files of the workspace.
    pub fn read(files: &[&str], constants: &[(&'static str, usize)]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let items = files
            .iter()
            .flat_map(|file| {
                let text = std::fs::read_to_string(root.join(file)).unwrap();
                syn::parse_file(&text).unwrap().items
            })
            .collect();
        Self {
            items,
            constants: constants
                .iter()
                .map(|(name, value)| (*name, value.to_string()))
                .collect(),
        }
    }

    /// Fields of a structure, in order.
    pub fn fields(&self, structure: &str) -> Vec<Entry> {
        let fields = self.items.iter().find_map(|item| match item {
            Item::Struct(item) if item.ident == structure => Some(&item.fields),
            _ => None,
        });
        self.entries(fields.unwrap_or_else(|| panic!("no structure {structure}")))
    }

    fn entries(&self, fields: &Fields) -> Vec<Entry> {
        let entry = |field: &syn::Field| Entry {
            name: field.ident.as_ref().unwrap().to_string(),
            kind: kind(&field.ty),
            doc: self.doc(&field.attrs),
        };
        fields.iter().map(entry).collect()
    }

    /// Words of a closed list: an enumeration in snake case, or a `words!`.
    pub fn words(&self, name: &str) -> Vec<Entry> {
        for item in &self.items {
            match item {
                Item::Enum(item) if item.ident == name => {
                    let word = |variant: &syn::Variant| Entry {
                        name: snake(&variant.ident.to_string()),
                        kind: String::new(),
                        doc: self.doc(&variant.attrs),
                    };
                    return item.variants.iter().map(word).collect();
                }
                Item::Macro(item) if item.mac.path.is_ident("words") => {
                    let words: Words = item.mac.parse_body().unwrap();
                    if words.name == name {
                        let word = |word: &Word| Entry {
                            name: word.text.value(),
                            kind: String::new(),
                            doc: self.doc(&word.attributes),
                        };
                        return words.all.iter().map(word).collect();
                    }
                }
                _ => {}
            }
        }
        panic!("no closed list {name}")
    }

    /// Variants of an enumeration with what each holds: keys of its own, or a structure's name.
    pub fn variants(&self, name: &str) -> Vec<(Entry, Vec<Entry>)> {
        let variants = self.items.iter().find_map(|item| match item {
            Item::Enum(item) if item.ident == name => Some(&item.variants),
            _ => None,
        });
        let variant = |variant: &syn::Variant| {
            let (kind, fields) = match &variant.fields {
                Fields::Named(_) => (String::new(), self.entries(&variant.fields)),
                Fields::Unnamed(fields) => (kind(&fields.unnamed[0].ty), Vec::new()),
                Fields::Unit => (String::new(), Vec::new()),
            };
            let entry = Entry {
                name: snake(&variant.ident.to_string()),
                kind,
                doc: self.doc(&variant.attrs),
            };
            (entry, fields)
        };
        variants
            .unwrap_or_else(|| panic!("no enumeration {name}"))
            .iter()
            .map(variant)
            .collect()
    }

    /// The comment of a structure or an enumeration.
    pub fn about(&self, name: &str) -> String {
        let about = self.items.iter().find_map(|item| match item {
            Item::Struct(item) if item.ident == name => Some(self.doc(&item.attrs)),
            Item::Enum(item) if item.ident == name => Some(self.doc(&item.attrs)),
            Item::Macro(item) if item.mac.path.is_ident("words") => {
                let words: Words = item.mac.parse_body().unwrap();
                (words.name == name).then(|| self.doc(&words.attributes))
            }
            _ => None,
        });
        about.unwrap_or_else(|| panic!("no type {name}"))
    }

    /// A comment in one line; links to items become their names, links to constants their values.
    fn doc(&self, attributes: &[Attribute]) -> String {
        let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value().trim().to_owned()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        });
        let text = lines.collect::<Vec<_>>().join(" ");
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("[`") {
            let (link, after) = after.split_once("`]").unwrap();
            let name = link.rsplit("::").next().unwrap_or(link);
            plain.push_str(before);
            match self.constants.get(name) {
                Some(value) => plain.push_str(value),
                None => write!(plain, "`{name}`").unwrap(),
            }
            rest = after;
        }
        plain + rest
    }
}

struct Words {
    attributes: Vec<Attribute>,
    name: Ident,
    all: Punctuated<Word, Token![,]>,
}

struct Word {
    attributes: Vec<Attribute>,
    text: LitStr,
}

impl Parse for Words {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let name = input.parse()?;
        let body;
        braced!(body in input);
        Ok(Self {
            attributes,
            name,
            all: body.parse_terminated(Word::parse, Token![,])?,
        })
    }
}

impl Parse for Word {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        input.parse::<Ident>()?;
        input.parse::<Token![=]>()?;
        Ok(Self {
            attributes,
            text: input.parse()?,
        })
    }
}

/// What a Rust type is in JSON.
fn kind(of: &Type) -> String {
    let Type::Path(path) = of else {
        panic!("a type that is no path")
    };
    let last = path.path.segments.last().unwrap();
    let arguments: Vec<String> = match &last.arguments {
        PathArguments::AngleBracketed(arguments) => arguments
            .args
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Type(of) => Some(kind(of)),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    match (last.ident.to_string().as_str(), arguments.as_slice()) {
        ("Option", [inner]) => format!("{inner} or `null`"),
        ("Arc" | "Box", [inner]) => inner.clone(),
        ("Vec", [inner]) => format!("array of {inner}"),
        ("BTreeMap", [key, value]) => format!("object: {key} to {value}"),
        ("bool", []) => "boolean".into(),
        ("String", []) => "string".into(),
        ("IpAddr", []) => "string, an address".into(),
        ("SocketAddr", []) => "string, `address:port`".into(),
        ("u16" | "u32" | "u64" | "i32" | "i64" | "f64", []) => "number".into(),
        (name, []) => format!("[{name}](#{})", name.to_lowercase()),
        (name, _) => panic!("no JSON is known for {name}"),
    }
}

/// `ConnectionEnded` as serde's `snake_case` spells it.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// A table of keys.
pub fn keys(entries: &[Entry]) -> String {
    let mut table = String::from("| key | value | meaning |\n|---|---|---|\n");
    for Entry { name, kind, doc } in entries {
        writeln!(table, "| `{name}` | {kind} | {} |", cell(doc)).unwrap();
    }
    table
}

/// A table of words.
pub fn words(entries: &[Entry]) -> String {
    let mut table = String::from("| word | meaning |\n|---|---|\n");
    for Entry { name, doc, .. } in entries {
        writeln!(table, "| `{name}` | {} |", cell(doc)).unwrap();
    }
    table
}

/// Text in a cell of a table.
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
