//! Events that count from something else than the clock of the session, and sound ones that look alike.

use data::import::{Column, Source, Table};
use rand::RngExt;

use crate::common::rng;
use crate::one_session::{assert_one, refused, source, table, told};

/// A reordering of 0 … 199 without a trend, by a prime number.
fn shuffled(k: usize) -> usize {
    (k * 79) % 200
}

/// Rows of [`source`] in another order, `at(k)` in place k, with times `by` s after the start of their row as the event `late`.
fn late(at: impl Fn(usize) -> usize, by: f64) -> Source {
    let mut source = source((0.0, 3600.0), 17.0);
    let old = source.trials.take().unwrap();
    let column = |name: &str, by: f64| match old.get(name) {
        Some(Column::Numbers(values)) => (0..200).map(|k| values[at(k)] + by).collect::<Vec<f64>>(),
        other => panic!("numbers, not {other:?}"),
    };
    source.trials = Some(table(&[
        ("start_time", column("start_time", 0.0)),
        ("stop_time", column("stop_time", 0.0)),
        ("late", column("start_time", by)),
    ]));
    source
}

const LATE: &str = "[trials]\nalign_to = 'late'\nwindow_s = [-0.2, 0.5]\nstimulus = '1'\n";
const OUTSIDE: &str = "outside = true\n";

#[test]
fn events_after_the_end_of_their_row_are_told_in_whatever_order_rows_are() {
    // Half of the rows first, as where they are sorted by condition, all of them shuffled, and in order.
    let by_condition = |k: usize| if k < 100 { 2 * k } else { 2 * (k - 100) + 1 };
    let orders: [&dyn Fn(usize) -> usize; 3] = [&by_condition, &shuffled, &|k| k];
    for order in orders {
        // Rows last 3 s; a thousandth of any time here lies inside.
        let (n, warnings) = told(LATE, late(order, 4.0));
        assert_eq!(n, 200);
        assert_one(&warnings, "200 of 200 times of 'late' lie outside of their rows");
        // The same of another event.
        let event =
            "[trials]\nalign_to = 'start_time'\nwindow_s = [-0.2, 5]\nstimulus = '1'\nevents = { late = 'late' }";
        let (_, warnings) = told(event, late(order, 4.0));
        assert_one(&warnings, "trials.events.late: 200 of 200 times");
    }
}

#[test]
fn events_that_rows_share_are_of_the_clock() {
    // The next reward, the same for pairs of rows, after the end of both: in order, but not all later than the one before.
    let mut shared = late(|k| k, 0.0);
    let times: Vec<f64> = (0..200).map(|k| 10.0 + 17.0 * f64::from(k - k % 2 + 1) + 4.0).collect();
    let starts: Vec<f64> = (0..200).map(|k| 10.0 + 17.0 * f64::from(k)).collect();
    let stops: Vec<f64> = starts.iter().map(|start| start + 3.0).collect();
    shared.trials = Some(table(&[
        ("start_time", starts.clone()),
        ("stop_time", stops.clone()),
        ("late", times),
    ]));
    let (n, warnings) = told(LATE, shared.clone());
    assert_eq!(n, 200);
    assert_one(&warnings, "200 of 200 times of 'late' lie outside of their rows");
    // The start of a block of 50 rows, in most rows long ago.
    let blocks: Vec<f64> = (0..200).map(|k| 10.2 + 17.0 * f64::from(k - k % 50)).collect();
    shared.trials = Some(table(&[("start_time", starts), ("stop_time", stops), ("late", blocks)]));
    let message = refused(LATE, shared);
    assert!(!message.contains("/ 1000"), "{message}");
}

#[test]
fn times_in_ms_after_starts_are_still_found_in_whatever_order_rows_are() {
    let orders: [&dyn Fn(usize) -> usize; 2] = [&shuffled, &|k| k];
    for order in orders {
        let mut source = late(order, 0.0);
        let after: Vec<f64> = (0..200).map(|k| 300.0 + 13.0 * f64::from((k * 37) % 200)).collect();
        let trials = source.trials.as_mut().unwrap();
        trials.insert("test", "rt", Column::Numbers(after)).unwrap();
        let message = refused(&LATE.replace("late", "rt"), source);
        assert!(message.contains("--align-to 'start_time + rt / 1000'"), "{message}");
    }
}

#[test]
fn events_in_the_next_row_or_far_away_are_taken_where_the_plan_says_so() {
    // Rows end where the next begins, and the event is 0.2 s after that; or 500 s later.
    let next = |by: f64| {
        let mut source = late(|k| k, by);
        let old = source.trials.take().unwrap();
        let numbers = |name: &str| match old.get(name) {
            Some(Column::Numbers(values)) => values.clone(),
            other => panic!("numbers, not {other:?}"),
        };
        let stops = numbers("start_time").iter().map(|start| start + 17.0).collect();
        source.trials = Some(table(&[
            ("start_time", numbers("start_time")),
            ("stop_time", stops),
            ("late", numbers("late")),
        ]));
        source
    };
    for (by, part) in [(17.2, "in the row after theirs"), (500.0, "of another clock")] {
        let message = refused(LATE, next(by));
        assert!(
            message.contains(part)
                && message.contains("(hint: trials.outside = true in a TOML for --spec takes them as they are"),
            "{message}"
        );
        let (n, warnings) = told(&format!("{LATE}{OUTSIDE}"), next(by));
        assert_eq!(n, 200);
        assert_one(&warnings, part);
        let event = format!(
            "[trials]\nalign_to = 'start_time'\nwindow_s = [-0.2, 0.5]\nstimulus = '1'\nevents = {{ r = 'late' }}\n{OUTSIDE}"
        );
        assert!(refused(&event.replace(OUTSIDE, ""), next(by)).contains("trials.outside = true"));
        assert_one(&told(&event, next(by)).1, part);
    }
}

/// 200 random numbers between 0 and 1, always the same.
fn random() -> impl Iterator<Item = f64> {
    let mut rng = rng(79);
    (0..200).map(move |_| rng.random::<f64>())
}

/// The stimulus every 17 s, and times after it at random from `from` to `to`.
fn reaction(from: f64, to: f64) -> Source {
    let mut source = source((0.0, 3600.0), 17.0);
    source.trials = Some(table(&[
        ("stim", (0..200).map(|k| 10.5 + 17.0 * f64::from(k)).collect()),
        ("rt", random().map(|share| from + (to - from) * share).collect()),
    ]));
    source
}

const RT: &str = "[trials]\nalign_to = 'rt'\nwindow_s = [-0.2, 0.5]\nstimulus = '1'\n";

#[test]
fn times_after_another_column_are_refused_with_their_sum_where_rows_have_no_start() {
    let message = refused(RT, reaction(300.0, 900.0));
    assert!(
        message.contains("the 200 times of 'rt' don't grow from row to row, and those of column 'stim' do: do they count from that, in ms?")
            && message.contains("--align-to 'stim + rt / 1000'"),
        "{message}"
    );
    let sum = RT.replace("'rt'", "'stim + rt / 1000'");
    let (n, warnings) = told(&sum, reaction(300.0, 900.0));
    assert_eq!((n, warnings), (200, Vec::new()));
    // In s, in a session short enough that the latest are beyond its first seconds: 25 trials of 17 s.
    let mut short = reaction(0.3, 16.0);
    let first: Vec<usize> = (0..25).collect();
    short.trials = Some(short.trials.unwrap().select(&first));
    let end = |times: &mut Vec<f64>| times.retain(|time| *time < 435.0);
    short.spikes_s.iter_mut().for_each(end);
    let message = refused(RT, short);
    assert!(message.contains("--align-to 'stim + rt'"), "{message}");
    // The way on.
    let (n, warnings) = told(&format!("{RT}[clock]\ntrials_per_s = 1"), reaction(300.0, 900.0));
    assert_eq!(n, 200);
    assert!(
        !warnings.iter().any(|warning| warning.contains("don't grow")),
        "{warnings:#?}"
    );
    // Nothing says the clock: told.
    let mut alone = reaction(300.0, 2900.0);
    let rt = alone.trials.as_ref().unwrap().get("rt").unwrap().clone();
    let mut only = Table::new(200);
    only.insert("test", "rt", rt).unwrap();
    alone.trials = Some(only);
    assert_one(&told(RT, alone).1, "do they count from the start of their trial?");
}

#[test]
fn sound_times_in_rows_without_a_start_are_taken_without_a_word() {
    let stim = |k: usize| 10.5 + 17.0 * k as f64;
    let event = |at: &dyn Fn(usize) -> usize| (0..200).map(|k| stim(at(k)) + 0.3).collect::<Vec<f64>>();
    let by_condition = |k: usize| if k < 100 { 2 * k } else { 2 * (k - 100) + 1 };
    // Sorted by reaction time (ms), so that this column grows and the times don't; by condition; and shuffled beside a count of rows.
    let mut sorted: Vec<f64> = random().map(|share| 200.0 + 1300.0 * share).collect();
    sorted.sort_by(f64::total_cmp);
    let count = |by: f64| (0..200).map(|k| by * f64::from(k)).collect::<Vec<f64>>();
    let tables = [
        table(&[("rt", event(&shuffled)), ("rt_ms", sorted.clone())]),
        table(&[
            ("rt", event(&by_condition)),
            ("stim", (0..200).map(|k| stim(by_condition(k))).collect()),
        ]),
        table(&[
            ("rt", event(&shuffled)),
            ("stim", (0..200).map(|k| stim(shuffled(k))).collect()),
        ]),
        table(&[("rt", event(&shuffled)), ("trial", count(1.0))]),
    ];
    for (i, trials) in tables.into_iter().enumerate() {
        let mut sound = source((0.0, 3600.0), 17.0);
        sound.trials = Some(trials);
        let (n, warnings) = told(RT, sound);
        let warnings: Vec<&String> = warnings
            .iter()
            .filter(|warning| !warning.contains("before the one above"))
            .collect();
        assert_eq!((n, warnings), (200, Vec::new()), "table {i}");
    }
}
