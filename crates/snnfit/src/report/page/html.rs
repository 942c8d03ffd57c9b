//! Text in HTML: escaped, with code in backticks.

use crate::report::shown;

/// A text that is shown as it is, in content and in quoted attributes; control characters become visible escapes.
pub(in crate::report) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// An escaped text whose parts in backticks are code.
pub(in crate::report) fn inline(text: &str) -> String {
    let mut html = String::new();
    for (i, part) in text.split('`').enumerate() {
        let part = escape(part);
        if i % 2 == 1 {
            html.push_str("<code>");
            html.push_str(&part);
            html.push_str("</code>");
        } else {
            html.push_str(&part);
        }
    }
    html
}

/// An anchor of a name: letters, digits and `-`.
pub(in crate::report) fn anchor(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("def-{}", name.chars().map(plain).collect::<String>())
}

/// A word with a link to its definition.
pub(in crate::report) fn defined(name: &str, shown: &str) -> String {
    format!("<a class=\"term\" href=\"#{}\">{}</a>", anchor(name), escape(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        let text = "<script>alert(\"1\")</script> & 'x' \u{1b}[31m\u{202e}";
        assert_eq!(
            escape(text),
            "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;x&#39; \\u{1b}[31m\\u{202e}"
        );
    }

    #[test]
    fn backticks_make_code() {
        assert_eq!(inline("a `b<c` d"), "a <code>b&lt;c</code> d");
        assert_eq!(anchor("type_fraction/TYPE"), "def-type-fraction-TYPE");
    }
}
