//! What a person reads after a fit: pictures and one page, written beside the metrics.

pub mod glossary;
pub mod overview;
pub mod page;
pub mod plots;
pub mod spike_history;

/// A text without control characters and without marks that reverse the direction of what follows: they become visible
/// escapes. Line ends and tabs stay.
pub(crate) fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

fn is_hidden(c: char) -> bool {
    let is_control = c.is_control() && !matches!(c, '\n' | '\t');
    is_control || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_seen_is_shown() {
        assert_eq!(shown("V1\n\t<é>"), "V1\n\t<é>");
        assert_eq!(shown("V1\u{1b}[31m\u{202e}"), "V1\\u{1b}[31m\\u{202e}");
    }
}
