//! Pictures inside of the page: their text and lines take the colours of the page, light or dark.

use super::html::escape;

/// Colours of the pictures and the variables of the page that replace them.
const THEME: [(&str, &str); 6] = [
    ("\"#000000\"", "\"var(--ink)\""),
    ("\"#5A5A5A\"", "\"var(--muted)\""),
    ("\"#787878\"", "\"var(--guide)\""),
    ("\"#EBEBEB\"", "\"var(--grid)\""),
    ("\"#D55E00\"", "\"var(--model)\""),
    ("\"#0072B2\"", "\"var(--second)\""),
];

/// Attributes that say what is so anyway, or what the page's style says; a raster has thousands of them.
const SUPERFLUOUS: [&str; 4] = [
    " opacity=\"1\"",
    " stroke=\"none\"",
    " font-family=\"sans-serif\"",
    " text-anchor=\"start\"",
];

/// A picture with its caption (HTML).
pub(in crate::report) fn figure(name: &str, title: &str, caption: &str, svg: &str) -> String {
    format!(
        "<figure id=\"figure-{name}\">\n<div class=\"picture\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\">\n{1}</div>\n\
         <figcaption><strong>{0}.</strong> {caption}</figcaption>\n</figure>\n",
        escape(title),
        themed(name, title, svg)
    )
}

/// The picture without its ground, named for those who can't see it.
fn themed(name: &str, title: &str, svg: &str) -> String {
    // The first two lines are the root element and the ground; both are written by the drawing library.
    let mut lines = svg.splitn(3, '\n');
    let (root, ground, rest) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let view_box = root.split("viewBox=\"").nth(1).and_then(|rest| rest.split('"').next());
    let is_ground = ground.starts_with("<rect x=\"0\" y=\"0\"") && ground.contains("#FFFFFF");
    let mut content = if is_ground {
        rest.to_owned()
    } else {
        format!("{ground}\n{rest}")
    };
    for (from, to) in THEME {
        content = content.replace(from, to);
    }
    for attribute in SUPERFLUOUS {
        content = content.replace(attribute, "");
    }
    let view_box = view_box.unwrap_or("0 0 800 600");
    let width = view_box.split(' ').nth(2).unwrap_or("800");
    format!(
        "<svg viewBox=\"{view_box}\" width=\"{width}\" role=\"img\" aria-labelledby=\"title-{name}\">\n\
         <title id=\"title-{name}\">{}</title>\n{content}",
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_loses_its_ground_and_takes_the_colours_of_the_page() {
        let svg = "<svg width=\"80\" height=\"50\" viewBox=\"0 0 80 50\" xmlns=\"http://www.w3.org/2000/svg\">\n\
                   <rect x=\"0\" y=\"0\" width=\"80\" height=\"50\" opacity=\"1\" fill=\"#FFFFFF\" stroke=\"none\"/>\n\
                   <circle cx=\"1\" cy=\"2\" r=\"4\" opacity=\"1\" fill=\"#D55E00\" stroke=\"none\"/>\n</svg>\n";
        assert_eq!(
            themed("a", "A <b>", svg),
            "<svg viewBox=\"0 0 80 50\" width=\"80\" role=\"img\" aria-labelledby=\"title-a\">\n\
             <title id=\"title-a\">A &lt;b&gt;</title>\n<circle cx=\"1\" cy=\"2\" r=\"4\" fill=\"var(--model)\"/>\n</svg>\n"
        );
    }
}
