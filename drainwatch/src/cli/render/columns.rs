//! Tables of elastic columns: what is less important gives way where it is narrow, and nothing is ever wrapped.

use crate::outlets::text::{columns, cut, elide, fit};

/// Between two columns.
const GAP: usize = 2;
/// Below it a finding says nothing.
pub const SHORT_FINDING: usize = 14;
/// Below it a name says nothing.
pub const SHORT_NAME: usize = 8;

/// What is there of a table's parts, which go in their order where it is narrow: nothing has gone, or all up to this one.
#[derive(Debug, Clone, Copy)]
pub struct Room<Part>(Option<Part>);

impl<Part: Copy + Ord> Room<Part> {
    /// Nothing has gone.
    pub const FULL: Self = Self(None);

    /// From the widest to the narrowest.
    pub fn ladder(parts: impl IntoIterator<Item = Part>) -> impl Iterator<Item = Self> {
        std::iter::once(Self::FULL).chain(parts.into_iter().map(|last| Self(Some(last))))
    }

    /// Whether this part is there.
    pub fn has(self, part: Part) -> bool {
        self.0.is_none_or(|last| part > last)
    }
}

/// A column, with the cells of all rows.
#[derive(Debug, Clone)]
pub struct Column {
    head: &'static str,
    cells: Vec<String>,
    right: bool,
    /// It may be cut to this many columns where nothing else can give way: in its middle, or at its end.
    least: Option<(usize, Cut)>,
}

/// Where a cell is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Names.
    Middle,
    /// Texts.
    End,
}

impl Column {
    /// One of texts.
    pub fn new(head: &'static str, cells: Vec<String>) -> Self {
        Self {
            head,
            cells,
            right: false,
            least: None,
        }
    }

    /// One of numbers.
    pub fn numbers(head: &'static str, cells: impl IntoIterator<Item = u64>) -> Self {
        Self {
            right: true,
            ..Self::new(head, cells.into_iter().map(|number| number.to_string()).collect())
        }
    }

    /// It may be cut, to `least` columns.
    #[must_use]
    pub fn or_cut(self, least: usize, cut: Cut) -> Self {
        Self {
            least: Some((least, cut)),
            ..self
        }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| columns(cell)).max().unwrap_or(0);
        cells.max(columns(self.head))
    }
}

/// The first of these tables that fits into `width`, else the last with its columns cut; without a width the first.
pub fn draw(ladder: impl IntoIterator<Item = Vec<Column>>, width: Option<usize>) -> String {
    let mut last = Vec::new();
    for table in ladder {
        last = table;
        if width.is_none_or(|width| least(&last) <= width) {
            break;
        }
    }
    let mut widths: Vec<_> = last.iter().map(Column::width).collect();
    let mut over = width.map_or(0, |width| total(&widths).saturating_sub(width));
    // Texts give way before names.
    for cut in [Cut::End, Cut::Middle] {
        for (column, width) in last.iter().zip(&mut widths) {
            if let Some((least, _)) = column.least.filter(|(_, how)| *how == cut) {
                let less = over.min(width.saturating_sub(least));
                *width -= less;
                over -= less;
            }
        }
    }
    let rows = last.iter().map(|column| column.cells.len()).max().unwrap_or(0);
    let mut out = String::new();
    let head = last.iter().map(|column| column.head);
    line(&mut out, &last, &widths, head);
    for row in 0..rows {
        let cells = last
            .iter()
            .map(|column| column.cells.get(row).map_or("", String::as_str));
        line(&mut out, &last, &widths, cells);
    }
    out
}

/// Columns that a table takes at least, before names are cut.
fn least(table: &[Column]) -> usize {
    let widths: Vec<_> = table
        .iter()
        .map(|column| match column.least {
            Some((least, Cut::End)) => column.width().min(least),
            Some((_, Cut::Middle)) | None => column.width(),
        })
        .collect();
    total(&widths)
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn line<'a>(out: &mut String, table: &[Column], widths: &[usize], cells: impl Iterator<Item = &'a str>) {
    let mut text = String::new();
    for (n, ((column, width), cell)) in table.iter().zip(widths).zip(cells).enumerate() {
        if n > 0 {
            text.push_str(&" ".repeat(GAP));
        }
        let cell = match column.least {
            Some((_, Cut::Middle)) => elide(cell, *width),
            _ => cut(cell, *width),
        };
        if column.right {
            text.push_str(&" ".repeat(width.saturating_sub(columns(&cell))));
            text.push_str(&cell);
        } else {
            text.push_str(&fit(&cell, *width));
        }
    }
    out.push_str(text.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn given_a_ladder_when_drawn_then_the_first_that_fits_is_taken_and_names_are_cut_last() {
        let names = Column::new("name", texts(&["shop/checkout-api", "a"])).or_cut(8, Cut::Middle);
        let what = Column::new("what", texts(&["killed_mid_drain", ""])).or_cut(6, Cut::End);
        let count = Column::numbers("n", [7, 120]);
        let full = vec![names.clone(), what.clone(), count.clone()];
        let less = vec![names, count];
        let at = |width| draw([full.clone(), less.clone()], width);
        assert_eq!(
            at(None),
            "name               what                n\n\
             shop/checkout-api  killed_mid_drain    7\n\
             a                                    120\n"
        );
        assert_eq!(
            at(Some(32)),
            "name               what        n\n\
             shop/checkout-api  killed_…    7\n\
             a                            120\n"
        );
        assert_eq!(
            at(Some(15)),
            "name          n\nshop/…-api    7\na           120\n"
        );
        // Nothing left to give: wider than asked for, and still whole lines.
        assert_eq!(at(Some(1)).lines().count(), 3);
    }
}
