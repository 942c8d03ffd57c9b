use proptest::prelude::*;

use super::evaluate::matches;
use super::*;
use crate::import::table::{Column, Table};

fn table() -> Table {
    let mut table = Table::new(4);
    let texts = |values: [&str; 4]| Column::Texts(values.map(str::to_owned).to_vec());
    let mut add = |name: &str, column| table.insert("units", name, column).expect("four rows");
    add("isi_violations", Column::Numbers(vec![0.1, 0.6, f64::NAN, 0.2]));
    add("depth", Column::Numbers(vec![10.0, -20.0, 30.0, 0.0]));
    add("area", texts(["VISp", "VISl", "", "CA1"]));
    add("good", Column::Flags(vec![true, false, true, true]));
    add("is_pv", Column::Numbers(vec![0.0, 1.0, f64::NAN, 1.0]));
    add("2p depth", Column::Numbers(vec![1.0, 2.0, 3.0, 4.0]));
    table
}

fn rows(text: &str) -> Vec<usize> {
    let flags = Expression::parse(text).and_then(|e| e.condition(&table()));
    let flags = flags.unwrap_or_else(|error| panic!("{error}"));
    (0..4).filter(|&row| flags[row]).collect()
}

fn numbers(text: &str) -> Vec<f64> {
    Expression::parse(text)
        .and_then(|e| e.numbers(&table()))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str) -> String {
    Expression::parse(text)
        .and_then(|e| e.condition(&table()))
        .expect_err(text)
        .to_string()
}

#[test]
fn conditions_choose_the_rows_that_python_would() {
    let cases: [(&str, &[usize]); 24] = [
        ("isi_violations < 0.5", &[0, 3]),
        ("isi_violations<0.5&&depth>=0", &[0, 3]),
        ("isi_violations < 0.5 and not good", &[]),
        ("!good || depth == 30", &[1, 2]),
        // NaN: every comparison is false but !=.
        ("isi_violations >= 0.5", &[1]),
        ("isi_violations != 0.6", &[0, 2, 3]),
        ("!(isi_violations < 0.5)", &[1, 2]),
        ("missing(isi_violations)", &[2]),
        ("missing(area)", &[2]),
        ("area == 'VISp'", &[0]),
        ("area != \"VISp\"", &[1, 2, 3]),
        ("area in ['VISp', 'CA1']", &[0, 3]),
        ("area not in ['VISp', 'CA1']", &[1, 2]),
        ("area like 'VIS*'", &[0, 1]),
        ("area not like 'VIS?'", &[2, 3]),
        ("depth in [10, 30]", &[0, 2]),
        ("depth in []", &[]),
        // 0 and 1 are flags, and a missing one is false.
        ("is_pv", &[1, 3]),
        ("!is_pv", &[0, 2]),
        ("good == true", &[0, 2, 3]),
        ("`2p depth` > 2.5", &[2, 3]),
        // && binds closer than ||, and ! closest.
        ("good && depth > 5 || area == 'CA1'", &[0, 2, 3]),
        ("good && (depth > 5 || area == 'CA1')", &[0, 2, 3]),
        ("depth - 1 * 2 > 7", &[0, 2]),
    ];
    for (text, expected) in cases {
        assert_eq!(rows(text), expected, "{text}");
    }
}

#[test]
fn arithmetic_follows_the_usual_precedence() {
    assert_eq!(numbers("2 + 3 * 4 - 6 / 2")[0], 11.0);
    assert_eq!(numbers("(2 + 3) * -4")[0], -20.0);
    assert_eq!(numbers("1 - 2 - 3")[0], -4.0);
    assert_eq!(numbers("8 / 4 / 2")[0], 1.0);
    assert_eq!(numbers("abs(depth)"), [10.0, 20.0, 30.0, 0.0]);
    assert_eq!(numbers("max(depth, 5)"), [10.0, 5.0, 30.0, 5.0]);
    assert!(numbers("min(isi_violations, 5)")[2].is_nan());
    assert_eq!(
        numbers("coalesce(isi_violations, 9) - coalesce(depth, 0) * 0"),
        [0.1, 0.6, 9.0, 0.2]
    );
    assert_eq!(numbers("1.5e-1 + .5 + 2.")[0], 2.65);
    assert_eq!(numbers("good + 1"), [2.0, 1.0, 2.0, 2.0]);
}

#[test]
fn rules_tell_one_by_one_what_they_keep_and_where_numbers_are_missing() {
    let expression =
        Expression::parse("isi_violations < 0.5 && (good || depth < 0) && area like 'VIS*'").expect("valid");
    let rules = expression.rules(&table()).expect("three conditions");
    let told: Vec<(&str, usize, usize)> = rules
        .iter()
        .map(|rule| {
            (
                rule.text.as_str(),
                rule.keeps.iter().filter(|keeps| **keeps).count(),
                rule.missing,
            )
        })
        .collect();
    let expected = [
        ("isi_violations < 0.5", 2, 1),
        ("(good || depth < 0)", 4, 0),
        ("area like 'VIS*'", 2, 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(expression.columns(), ["isi_violations", "good", "depth", "area"]);
}

#[test]
fn faults_are_told_with_their_place_and_what_to_do() {
    let cases = [
        (
            "isi_violation < 0.5",
            "column 1: there is no column 'isi_violation'; did you mean 'isi_violations'? columns: ",
        ),
        (
            "good && dpth > 0",
            "column 9: there is no column 'dpth'; did you mean 'depth'?",
        ),
        ("depth = 3", "column 7: '=' compares nothing; write '=='"),
        ("depth > ", "column 9: expected a value, found the end"),
        ("(depth > 3", "column 11: expected ')', found the end"),
        ("depth > 3)", "column 10: ')' is not expected here"),
        ("area > 'V1'", "column 1: texts are compared by == and != only"),
        ("area == 3", "column 1: a text is compared with numbers"),
        ("depth", "column 1: a number (10), where a condition is expected"),
        ("area", "column 1: a text, where a condition is expected"),
        ("area + 1 > 0", "column 1: a text, where a number is expected"),
        ("0 < depth < 3", "comparisons don't chain"),
        ("area like VIS", "column 11: expected a pattern in quotes"),
        ("depth like 'x'", "column 1: 'like' takes texts, found numbers"),
        ("area == 'VISp", "column 9: the ' is never closed"),
        ("sqrt(depth) > 1", "column 1: there is no function 'sqrt'"),
        ("abs(depth, 1) > 1", "column 1: abs takes one value, found 2"),
        ("2p > 1", "column 1: a name can't begin with a digit"),
        ("depth > 1e999", "column 9: 1e999 is too large"),
        ("dépth; 3", "column 6: ';' is no part of an expression"),
        ("", "column 1: expected a value, found the end"),
        ("and", "column 1: expected a value, found 'and'"),
    ];
    for (text, expected) in cases {
        let found = error(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
    assert!(error(&"(".repeat(1000)).contains("nested more than 64 times"));
    assert!(error(&"!".repeat(1000)).contains("nested more than 64 times"));
    assert!(error(&"-".repeat(1000)).contains("nested more than 64 times"));
    assert!(error(&format!("1{}", "+1".repeat(MAX_TOKENS))).contains("at most 2000 are read"));
    // Not evaluated twice at each level: this would take for ever.
    assert_eq!(
        rows(&format!("{}1{}", "(".repeat(60), " == 1)".repeat(60))),
        [0, 1, 2, 3]
    );
    assert!(error(&" ".repeat(MAX_LENGTH + 1)).contains("at most 10000 are read"));
}

#[test]
fn patterns_match_as_shells_do() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("VIS*", "VIS", true),
        ("*p", "VISp", true),
        ("V?S*l", "VISpm-l", true),
        ("?", "", false),
        ("VIS", "VISp", false),
        ("*a*b*", "xxaybz", true),
        ("*a*b*", "xxbya", false),
        ("é?", "éa", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
    // No backtracking: this would take forever with it.
    assert!(!matches(&"*a".repeat(50), &"a".repeat(40).replace("aaaa", "aaab")));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9 .'\"`()\\[\\],+*/<>=!&|é-]{0,60}") {
        if let Ok(expression) = Expression::parse(&text) {
            let _ = expression.condition(&table());
            let _ = expression.rules(&table());
        }
    }
}

#[test]
fn other_tables_are_named_in_quotes_and_asked_of_trials_only() {
    let text = "overlaps('opto') && (first(\"a b\", 'x > 1') > 2 || !overlaps('opto'))";
    let parsed = Expression::parse(text).expect("parses");
    let asked: Vec<String> = parsed.others().into_iter().map(Question::column).collect();
    assert_eq!(asked, ["overlaps('opto')", "first('a b', \"x > 1\")"]);
    assert!(parsed.columns().is_empty());
    for text in [
        "overlaps(opto)",
        "first()",
        "first('a', 'b', 'c')",
        "overlaps(3)",
        "first('a', b)",
    ] {
        assert!(error(text).contains("takes the name of a table in quotes"), "{text}");
    }
    assert!(error("overlaps('opto', 'x >')").contains("in 'x >', column 4: expected a value, found the end"));
    assert!(error("overlaps('opto')").contains("which only expressions of trials can"));
}
