//! Progress of a run on stderr: one line that is redrawn on a terminal, a plain line each minute otherwise.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, WeakProgressBar};

/// How often the line is redrawn on a terminal, Hz.
const REDRAW_HZ: u8 = 10;
/// Time between plain lines.
const PLAIN_EVERY: Duration = Duration::from_mins(1);
/// Speed and remaining time are judged by at most this many past updates …
const SPEED_UPDATES: usize = 512;
/// … of at most this age.
const SPEED_WINDOW: Duration = Duration::from_mins(1);
/// A shorter gap between two updates is no sign that the process was suspended.
const SUSPENDED: Duration = Duration::from_mins(1);

/// What `--progress` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mode {
    /// A line that is redrawn on a terminal, plain lines otherwise.
    #[default]
    Auto,
    /// A plain line each minute.
    Plain,
    /// Nothing.
    None,
}

/// What a progress line tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Steps taken.
    pub step: u64,
    /// Steps of the run.
    pub max_steps: u64,
    /// Name and value of each loss, with weights; their sum is shown too.
    pub losses: Vec<(String, f64)>,
    /// Last validation loss, and whether it was the best so far.
    pub validation: Option<(f64, bool)>,
    /// Age of the last checkpoint.
    pub checkpoint_age: Option<Duration>,
}

/// The line, e.g. `step 1 240/8 000 · loss 0.4127 (psth 0.21, trial_matching 0.18) · val 0.455 ↓ · 6.3 steps/s ·
/// ETA 17 m · ckpt 12 s ago`.
pub fn line(snapshot: &Snapshot, steps_per_s: Option<f64>) -> String {
    let mut parts = vec![format!(
        "step {}/{}",
        grouped(snapshot.step),
        grouped(snapshot.max_steps)
    )];
    if !snapshot.losses.is_empty() {
        let total: f64 = snapshot.losses.iter().map(|(_, value)| value).sum();
        let each: Vec<String> = snapshot
            .losses
            .iter()
            .map(|(name, value)| format!("{name} {}", significant(*value, 2)))
            .collect();
        parts.push(match each.len() {
            1 => format!("loss {}", significant(total, 4)),
            _ => format!("loss {} ({})", significant(total, 4), each.join(", ")),
        });
    }
    if let Some((value, is_best)) = snapshot.validation {
        parts.push(format!(
            "val {}{}",
            significant(value, 3),
            if is_best { " ↓" } else { "" }
        ));
    }
    if let Some(speed) = steps_per_s.filter(|speed| *speed > 0.0) {
        parts.push(if speed >= 1.0 {
            format!("{} steps/s", significant(speed, 2))
        } else {
            format!("{} s/step", significant(1.0 / speed, 2))
        });
        let left = snapshot.max_steps.saturating_sub(snapshot.step) as f64 / speed;
        parts.push(format!("ETA {}", duration_text(left)));
    }
    if let Some(age) = snapshot.checkpoint_age {
        parts.push(format!("ckpt {} ago", duration_text(age.as_secs_f64())));
    }
    parts.join(" · ")
}

/// Digits in groups of three, separated by a no-break space.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// A number with at least `digits` significant digits, without exponent where that stays short.
fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let magnitude = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    if !(-4.0..7.0).contains(&magnitude) {
        return format!("{value:.*e}", digits.saturating_sub(1));
    }
    let decimals = (digits as f64 - 1.0 - magnitude).max(0.0) as usize;
    format!("{value:.decimals$}")
}

/// Seconds as `12 s`, `17 m`, `3 h 05 m` or `2 d 4 h`.
fn duration_text(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} m", (seconds + 30) / 60),
        5400..172_800 => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Steps per second over the last updates.
#[derive(Debug, Default)]
struct Speed {
    updates: VecDeque<(Instant, u64)>,
}

impl Speed {
    fn update(&mut self, now: Instant, step: u64) -> Option<f64> {
        if self.was_suspended(now) {
            self.updates.clear();
        }
        self.updates.push_back((now, step));
        while self.updates.len() > SPEED_UPDATES
            || self
                .updates
                .front()
                .is_some_and(|(then, _)| now.duration_since(*then) > SPEED_WINDOW)
                && self.updates.len() > 2
        {
            self.updates.pop_front();
        }
        let (then, first) = self.updates.front()?;
        let seconds = now.duration_since(*then).as_secs_f64();
        (seconds > 0.0).then(|| step.saturating_sub(*first) as f64 / seconds)
    }

    /// Whether the time since the last update tells nothing about speed: a laptop asleep, a process stopped.
    fn was_suspended(&self, now: Instant) -> bool {
        let (Some((first, _)), Some((last, _))) = (self.updates.front(), self.updates.back()) else {
            return false;
        };
        let n = self.updates.len().saturating_sub(1) as u32;
        let gap = now.duration_since(*last);
        n > 0 && gap > SUSPENDED && gap > 20 * (last.duration_since(*first) / n)
    }
}

#[derive(Debug)]
enum Display {
    Bar(ProgressBar),
    Plain { last: Option<Instant> },
    None,
}

/// Shows progress; call [`Progress::update`] at each step, it does little unless a line is due.
#[derive(Debug)]
pub struct Progress {
    display: Display,
    speed: Speed,
}

impl Progress {
    /// Progress as asked for. `Auto` draws on a terminal unless the variable `CI` is set.
    pub fn new(mode: Mode) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        let display = match mode {
            Mode::None => Display::None,
            Mode::Auto if is_terminal => {
                let bar = terminal_bar();
                if let Ok(mut line) = LINE.lock() {
                    *line = Some(bar.downgrade());
                }
                Display::Bar(bar)
            }
            Mode::Auto | Mode::Plain => Display::Plain { last: None },
        };
        Self {
            display,
            speed: Speed::default(),
        }
    }

    /// Tells the state after a step.
    pub fn update(&mut self, snapshot: &Snapshot) {
        self.update_at(Instant::now(), snapshot, &mut std::io::stderr());
    }

    fn update_at(&mut self, now: Instant, snapshot: &Snapshot, plain: &mut impl Write) {
        let speed = self.speed.update(now, snapshot.step);
        match &mut self.display {
            Display::Bar(bar) => bar.set_message(line(snapshot, speed)),
            Display::Plain { last } => {
                let is_due = last.is_none_or(|last| now.duration_since(last) >= PLAIN_EVERY);
                if is_due {
                    *last = Some(now);
                    // A closed stderr is no reason to stop a fit.
                    let _ = writeln!(plain, "{}", line(snapshot, speed));
                }
            }
            Display::None => {}
        }
    }

    /// Removes the line.
    pub fn finish(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

/// The line on the terminal, for those who write something else to stderr meanwhile.
static LINE: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Writes something else to stderr without disturbing the line.
pub fn suspend<T>(write: impl FnOnce() -> T) -> T {
    let line = LINE.lock().ok().and_then(|line| line.as_ref()?.upgrade());
    match line {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn terminal_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REDRAW_HZ));
    // The template is a constant; if a new version of the library refuses it, its own style is good enough.
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Snapshot {
        Snapshot {
            step: 1240,
            max_steps: 8000,
            losses: vec![("psth".to_owned(), 0.2141), ("trial_matching".to_owned(), 0.1986)],
            validation: Some((0.4551, true)),
            checkpoint_age: Some(Duration::from_secs(12)),
        }
    }

    #[test]
    fn the_line_tells_step_losses_speed_and_remaining_time() {
        // (8000 − 1240) / 6.3 = 1073 s = 17.9 min
        assert_eq!(
            line(&example(), Some(6.3)),
            "step 1\u{a0}240/8\u{a0}000 · loss 0.4127 (psth 0.21, trial_matching 0.20) · val 0.455 ↓ · 6.3 steps/s · ETA 18 m · ckpt 12 s ago"
        );
    }

    #[test]
    fn slow_steps_are_told_in_seconds_per_step() {
        let text = line(
            &Snapshot {
                step: 1,
                max_steps: 2,
                ..Snapshot::default()
            },
            Some(0.25),
        );
        assert_eq!(text, "step 1/2 · 4.0 s/step · ETA 4 s");
    }

    #[test]
    fn durations_keep_two_units() {
        let texts: Vec<String> = [0.4, 89.0, 90.0, 5399.0, 11_100.0, 187_200.0]
            .map(duration_text)
            .to_vec();
        assert_eq!(texts, ["0 s", "89 s", "2 m", "90 m", "3 h 05 m", "2 d 4 h"]);
    }

    #[test]
    fn the_speed_is_that_of_the_recent_updates() {
        let start = Instant::now();
        let mut speed = Speed::default();
        assert_eq!(speed.update(start, 0), None);
        assert_eq!(speed.update(start + Duration::from_secs(10), 20), Some(2.0));
        // After a long time only the updates of the last minute count.
        speed.update(start + Duration::from_secs(1000), 30);
        assert_eq!(speed.update(start + Duration::from_secs(1010), 80), Some(5.0));
    }

    #[test]
    fn a_suspended_process_does_not_tell_days() {
        let start = Instant::now();
        let mut speed = Speed::default();
        for step in 0..10 {
            speed.update(start + Duration::from_secs(step), step);
        }
        let awake = start + Duration::from_hours(8);
        assert_eq!(speed.update(awake, 10), None);
        assert_eq!(speed.update(awake + Duration::from_secs(2), 12), Some(1.0));
    }

    #[test]
    fn slow_steps_are_no_suspension() {
        let start = Instant::now();
        let mut speed = Speed::default();
        for step in 0..3 {
            speed.update(start + Duration::from_secs(120 * step), step);
        }
        let speed = speed.update(start + Duration::from_mins(6), 3).unwrap();
        assert!((speed - 1.0 / 120.0).abs() < 1e-12, "{speed}");
    }

    #[test]
    fn plain_lines_come_once_a_minute() {
        let mut progress = Progress {
            display: Display::Plain { last: None },
            speed: Speed::default(),
        };
        let (start, mut out) = (Instant::now(), Vec::new());
        for second in 0..=120 {
            progress.update_at(start + Duration::from_secs(second), &example(), &mut out);
        }
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 3);
    }

    #[test]
    fn without_progress_nothing_is_written() {
        let mut progress = Progress::new(Mode::None);
        let mut out = Vec::new();
        progress.update_at(Instant::now(), &example(), &mut out);
        assert!(out.is_empty());
    }
}
