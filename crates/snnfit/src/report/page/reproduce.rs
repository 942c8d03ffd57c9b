//! The commands, files and settings that make the same run and the same numbers again.

use std::fmt::Write;

use super::html::escape;
use super::{Content, PageInputs, RunFacts};
use crate::run_dir::StopReason;

pub(super) fn content(inputs: &PageInputs<'_>) -> Content {
    of(inputs.facts)
}

/// The same of any run.
pub(in crate::report) fn of(facts: &RunFacts) -> Content {
    let run = shell(&facts.run);
    let options = facts.options.iter().map(|option| format!(" {option}"));
    let options = options.collect::<Vec<_>>().concat();
    let mut html = format!(
        "<p>With <code>run.toml</code> below and the same recording, the same version of snnfit makes the same run; on a processor \
         byte for byte.</p>\n<pre tabindex=\"0\"><code>snnfit train --config {} --out AGAIN\nsnnfit evaluate AGAIN{options}</code></pre>\n\
         <p>This page was made by</p>\n<pre tabindex=\"0\"><code>snnfit evaluate {run}{options}</code></pre>\n",
        escape(&shell(&format!("{}/run.toml", facts.run.trim_end_matches('/')))),
        run = escape(&run),
        options = escape(&options),
    );
    if let (Some(reason), Some(step)) = (facts.stop_reason, facts.last_step)
        && !matches!(reason, StopReason::MaxSteps | StopReason::Converged)
    {
        let _ = writeln!(
            html,
            "<p>Training ended at step {step} ({}); the first command goes on to <code>train.max_steps</code>. Its checkpoints up to \
             that step are the same.</p>",
            escape(reason.text())
        );
    }
    html.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Recordings\">\n<table class=\"small\">\n<caption>Recordings</caption>\n\
         <thead><tr><th scope=\"col\">file</th><th scope=\"col\">SHA-256</th></tr></thead>\n<tbody>\n",
    );
    for file in &facts.recordings {
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\"><code>{}</code></th><td><code>{}</code></td></tr>",
            escape(&file.path),
            escape(&file.sha256)
        );
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
    if !facts.argv.is_empty() {
        let words: Vec<String> = facts.argv.iter().map(|word| shell(word)).collect();
        let _ = writeln!(
            html,
            "<p>The run was begun with</p>\n<pre tabindex=\"0\"><code>{}</code></pre>",
            escape(&words.join(" "))
        );
    }
    let _ = writeln!(
        html,
        "<details>\n<summary><code>run.toml</code>, the resolved configuration</summary>\n<pre tabindex=\"0\"><code>{}</code></pre>\n\
         </details>",
        escape(&facts.run_toml)
    );
    Content::Html(html)
}

/// A word of a command, quoted where a shell would take it apart.
fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell_where_they_have_to_be() {
        assert_eq!(shell("runs/a"), "runs/a");
        assert_eq!(shell("it's; rm"), "'it'\\''s; rm'");
        assert_eq!(shell(""), "''");
    }
}
