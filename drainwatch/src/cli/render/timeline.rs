//! The timeline of one shutdown, drawn to scale: moments as marks, requests as bars.

use drainwatch_core::{
    report::{DrainedRequest, Moment, MomentKind, Report, SeveredRequest},
    workload::text::clean,
};

use crate::outlets::text::{Colour, Ink, columns, cut, fit, span};

/// Most rows of each kind; what is left away is said.
const MOMENTS: usize = 16;
const REQUESTS: usize = 24;

/// One row: what it is, where it lies, how it is drawn.
struct Row {
    from_ms: f64,
    to_ms: f64,
    label: String,
    /// Drawn at `to_ms`; a bar leads to it from `from_ms` when that is earlier.
    mark: char,
    note: String,
    ink: Ink,
    bar: bool,
}

/// The drawing, one line per row, at most `width` columns.
pub fn draw(report: &Report, width: usize, colour: Colour) -> Vec<String> {
    let (mut rows, mut omitted) = requests(report);
    let moments: Vec<_> = report.timeline.iter().map(moment).collect();
    omitted += moments.len().saturating_sub(MOMENTS);
    rows.extend(thin(moments));
    if rows.is_empty() {
        return vec![colour.paint(Ink::Faint, "nothing was seen between its start and its end")];
    }
    // By the time at which a row begins to exist; the stop signal itself stays above what it cut.
    rows.sort_by(|a, b| {
        a.from_ms
            .max(0.0)
            .total_cmp(&b.from_ms.max(0.0))
            .then(a.bar.cmp(&b.bar))
    });

    let note_width = rows
        .iter()
        .map(|row| columns(&row.note))
        .max()
        .unwrap_or(0)
        .min(width / 5);
    let label_width = rows
        .iter()
        .map(|row| columns(&row.label))
        .max()
        .unwrap_or(0)
        .min(width / 3)
        .max(8);
    let axis = Axis::over(&rows, width.saturating_sub(label_width + note_width + 2).max(10));

    let mut lines = vec![format!(
        "{} {}",
        " ".repeat(label_width),
        colour.paint(Ink::Faint, &axis.labels())
    )];
    lines.push(format!(
        "{} {}",
        " ".repeat(label_width),
        colour.paint(Ink::Faint, &axis.line())
    ));
    for row in &rows {
        let label = fit(&row.label, label_width);
        let (before, bar, after) = axis.row(row);
        let drawn = format!("{before}{}{after}", colour.paint(row.ink, &bar));
        let note = colour.paint(row.ink, cut(&row.note, note_width).as_str());
        lines.push(format!("{label} {drawn} {note}").trim_end().to_owned());
    }
    if omitted > 0 {
        let more = format!("… and {omitted} more, in --format json as far as the report lists them");
        lines.push(colour.paint(Ink::Faint, &cut(&more, width)));
    }
    lines
}

/// The first and the last of too many.
fn thin(mut moments: Vec<Row>) -> Vec<Row> {
    if moments.len() > MOMENTS {
        moments.drain(MOMENTS / 2..moments.len() - MOMENTS / 2);
    }
    moments
}

fn moment(moment: &Moment) -> Row {
    let detail = clean(moment.detail.as_deref().unwrap_or_default());
    let (mark, ink, name) = match moment.what {
        MomentKind::StopSignal => ('▼', Ink::Doubt, "stop signal"),
        MomentKind::SignalDelivered => ('▽', Ink::Faint, "signal handled"),
        MomentKind::SignalDropped => ('·', Ink::Plain, "signal_dropped"),
        MomentKind::ListenerOpened => ('◇', Ink::Faint, "listener opened"),
        MomentKind::ListenerClosed => ('◆', Ink::Plain, "listener closed"),
        MomentKind::Kill => ('✖', Ink::Bad, "killed"),
        MomentKind::Oom => ('✖', Ink::Bad, "out of memory"),
        MomentKind::Exit => ('■', Ink::Plain, "exit"),
        MomentKind::Exec => ('■', Ink::Plain, "exec"),
        MomentKind::Emptied => ('□', Ink::Faint, "gone"),
        MomentKind::AgentStopped => ('?', Ink::Doubt, "agent stopped"),
    };
    let note = if moment.what == MomentKind::AgentStopped {
        String::new()
    } else {
        detail
    };
    Row {
        from_ms: moment.at_ms,
        to_ms: moment.at_ms,
        label: name.into(),
        mark,
        note,
        ink,
        bar: false,
    }
}

/// All refused attempts in one row: from the first to the last.
fn refused(report: &Report) -> Option<Row> {
    let (from_ms, to_ms) = report.refused.first_ms.zip(report.refused.last_ms)?;
    Some(Row {
        from_ms,
        to_ms,
        label: "connections refused".into(),
        mark: '✗',
        note: match report.refused.attempts {
            1 => "1 attempt".into(),
            many => format!("{many} attempts"),
        },
        ink: Ink::Bad,
        bar: true,
    })
}

fn requests(report: &Report) -> (Vec<Row>, usize) {
    let severed = report.severed_requests.iter().map(severed);
    let drained = report.drained_requests.iter().map(drained);
    let (severed_room, drained_room) = (REQUESTS * 2 / 3, REQUESTS / 3);
    let left = |all: usize, room: usize| all.saturating_sub(room);
    let (n_severed, n_drained) = (report.severed_requests.len(), report.drained_requests.len());
    let (severed_room, drained_room) = (
        severed_room + drained_room.saturating_sub(n_drained),
        drained_room + severed_room.saturating_sub(n_severed),
    );
    let omitted = left(n_severed, severed_room) + left(n_drained, drained_room);
    (
        severed
            .take(severed_room)
            .chain(drained.take(drained_room))
            .chain(refused(report))
            .collect(),
        omitted,
    )
}

fn severed(request: &SeveredRequest) -> Row {
    let label = name(request.method.as_deref(), request.path.as_deref(), &request.peer);
    let from_ms = request.at_ms - request.age_ms.unwrap_or(0.0);
    let note = request.cause.to_string();
    Row {
        from_ms,
        to_ms: request.at_ms,
        label,
        mark: '✗',
        note,
        ink: Ink::Bad,
        bar: true,
    }
}

fn drained(request: &DrainedRequest) -> Row {
    let label = name(request.method.as_deref(), request.path.as_deref(), &request.peer);
    let from_ms = request.at_ms - request.age_ms.unwrap_or(0.0);
    let (mark, note, ink) = match (request.failed, request.status) {
        (false, _) => ('●', "drained".into(), Ink::Good),
        (true, Some(status)) => ('✗', format!("failed: {status}"), Ink::Bad),
        (true, None) => ('✗', "failed".into(), Ink::Bad),
    };
    Row {
        from_ms,
        to_ms: request.at_ms,
        label,
        mark,
        note,
        ink,
        bar: true,
    }
}

/// `GET /path`, or the peer where no head was read.
pub fn name(method: Option<&str>, path: Option<&str>, peer: &str) -> String {
    match (method, path) {
        (None, None) => clean(peer),
        (method, path) => {
            let words: Vec<_> = method.into_iter().chain(path).map(clean).collect();
            words.join(" ")
        }
    }
}

/// Time to columns.
struct Axis {
    from_ms: f64,
    to_ms: f64,
    width: usize,
}

impl Axis {
    /// From the oldest request (but at most as long before zero as after it) to the last row.
    fn over(rows: &[Row], width: usize) -> Self {
        let finite = |ms: f64| if ms.is_finite() { ms } else { 0.0 };
        let to_ms = rows.iter().map(|row| finite(row.to_ms)).fold(1.0, f64::max);
        let oldest = rows.iter().map(|row| finite(row.from_ms)).fold(0.0, f64::min);
        Self {
            from_ms: oldest.max(-to_ms),
            to_ms,
            width,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to the width of a terminal first"
    )]
    fn column(&self, ms: f64) -> usize {
        let share = (ms - self.from_ms) / (self.to_ms - self.from_ms);
        // A NaN becomes column 0.
        (share.clamp(0.0, 1.0) * (self.width - 1) as f64).round() as usize
    }

    /// The numbers above the line: both ends, zero when it has room, the middle when it has.
    fn labels(&self) -> String {
        let mut cells = vec![' '; self.width];
        let mut put = |at_column: usize, text: &str| {
            let length = text.chars().count();
            let start = at_column
                .saturating_sub(length / 2)
                .min(self.width.saturating_sub(length));
            let around = start.saturating_sub(1)..(start + length + 1).min(self.width);
            if length <= self.width && cells[around].iter().all(|c| *c == ' ') {
                for (cell, c) in cells[start..].iter_mut().zip(text.chars()) {
                    *cell = c;
                }
            }
        };
        put(self.column(0.0), "0");
        put(self.width - 1, &span(self.to_ms));
        if self.from_ms < 0.0 {
            put(0, &span(self.from_ms));
        }
        put(self.column(self.to_ms / 2.0), &span(self.to_ms / 2.0));
        cells.iter().collect::<String>().trim_end().to_owned()
    }

    fn line(&self) -> String {
        let (zero, middle) = (self.column(0.0), self.column(self.to_ms / 2.0));
        (0..self.width)
            .map(|column| match column {
                _ if column == zero => '┼',
                0 => '├',
                _ if column + 1 == self.width => '┤',
                _ if column == middle => '┴',
                _ => '─',
            })
            .collect()
    }

    /// What stands before the drawn part, the drawn part, and what fills the line after it.
    fn row(&self, row: &Row) -> (String, String, String) {
        let end = self.column(row.to_ms);
        let start = if row.bar {
            self.column(row.from_ms).min(end)
        } else {
            end
        };
        let mut bar = String::new();
        // A request that is older than the axis begins with an arrow.
        let older = row.from_ms < self.from_ms;
        for column in start..end {
            bar.push(if older && column == start { '◂' } else { '━' });
        }
        bar.push(row.mark);
        (" ".repeat(start), bar, " ".repeat(self.width - 1 - end))
    }
}
