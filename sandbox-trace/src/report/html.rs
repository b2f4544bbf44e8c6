//! The document as one HTML file that needs nothing else: no network, no script, no font.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Block, Cell, Document, Mark, Section, Table, plot};
use crate::{
    error::Result,
    output::{counted, grouped},
};

const STYLE: &str = include_str!("style.css");
/// Nothing is loaded, run or sent, whatever a file name says.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// The page.
pub fn page(document: &Document) -> Result<String> {
    let [light, dark] = plot::variables();
    let style =
        STYLE.replace("/*light*/", &light).replace("/*dark*/", &dark).replace("/*roles*/", &plot::classes());
    let sections: Vec<Markup> = document.sections.iter().map(section).collect::<Result<_>>()?;
    let (mark, verdict) = &document.verdict;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "Sandbox report: " (document.subject) }
                style { (PreEscaped(style)) }
            }
            body {
                a.skip href="#verdict" { "Skip to the verdict" }
                header {
                    p.kicker { "sandbox-trace report" }
                    h1 { (document.subject) }
                    nav aria-label="Sections" {
                        @for section in &document.sections { a href={ "#" (section.id) } { (section.title) } }
                        a href="#sign" { "Sign-off" }
                    }
                }
                main {
                    div.verdict.(class(*mark)) {
                        p.answer { span.sign aria-hidden="true" { (mark.sign()) } (verdict) }
                        ul { @for (mark, reason) in &document.reasons { li { (judged(*mark, reason)) } } }
                    }
                    dl.figures {
                        @for figure in &document.figures {
                            div {
                                dt { (figure.label) }
                                dd.value { (figure.value) }
                                dd.beside { (figure.beside) }
                            }
                        }
                    }
                    @for section in sections { (section) }
                    (sign(document))
                }
                footer { p { "Made by sandbox-trace " (env!("CARGO_PKG_VERSION")) ". Times are since a recording's start; byte strings that are not text are shown as \\xNN." } }
            }
        }
    };
    Ok(neutral(&page.into_string()))
}

fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Good => "good",
        Mark::Warn => "warn",
        Mark::Bad => "bad",
    }
}

/// A sign, what it means for those who don't see it, and the words.
fn judged(mark: Mark, text: &str) -> Markup {
    let means = match mark {
        Mark::Good => "good: ",
        Mark::Warn => "look: ",
        Mark::Bad => "bad: ",
    };
    html! { span.mark.(class(mark)) { span aria-hidden="true" { (mark.sign()) } span.unseen { (means) } } "\u{a0}" (text) }
}

fn section(section: &Section) -> Result<Markup> {
    let heading = format!("{}-heading", section.id);
    let blocks: Vec<Markup> = section.blocks.iter().map(block).collect::<Result<_>>()?;
    Ok(html! {
        section id=(section.id) aria-labelledby=(heading) {
            h2 id=(heading) { (section.title) }
            @for block in blocks { (block) }
        }
    })
}

fn block(block: &Block) -> Result<Markup> {
    Ok(match block {
        Block::Heading(text) => html! { h3 { (text) } },
        Block::Text(text) => html! { p { (text) } },
        Block::Mark(mark, text) => html! { p.judged { (judged(*mark, text)) } },
        Block::Table(one) if one.folded => html! {
            details { summary { (one.caption) } (table(one, false)) }
        },
        Block::Table(one) => table(one, true),
        Block::Plot(one) => {
            let svg = plot::draw(one)?.inline();
            html! { figure id={ "plot-" (one.id) } { figcaption { (one.title) } (PreEscaped(svg)) } }
        }
    })
}

fn table(table: &Table, captioned: bool) -> Markup {
    let is_number = |at: usize| table.rows.iter().any(|row| matches!(row.get(at), Some(Cell::Number(_))));
    html! {
        div.wide tabindex="0" role="region" aria-label=(table.caption) {
            table {
                caption.unseen[!captioned] { (table.caption) }
                thead { tr { @for (at, name) in table.head.iter().enumerate() { th.number[is_number(at)] scope="col" { (name) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (at, one) in row.iter().enumerate() {
                                @if at == 0 { th scope="row" { (cell(one)) } }
                                @else { td.number[is_number(at)] { (cell(one)) } }
                            }
                        }
                    }
                }
            }
        }
        @if table.more > 0 { p.more { "and " (counted(table.more, "more row")) ", not shown here: the recording has all of them" } }
    }
}

fn cell(cell: &Cell) -> Markup {
    match cell {
        Cell::Text(text) => html! { (text) },
        Cell::Code(text) if text.is_empty() => html! {},
        Cell::Code(text) => html! { code { (text) } },
        Cell::Number(n) => html! { (grouped(*n)) },
        Cell::Mark(mark, text) => judged(*mark, text),
    }
}

fn sign(document: &Document) -> Markup {
    html! {
        section.sign id="sign" aria-labelledby="sign-heading" {
            h2 id="sign-heading" { "Sign-off" }
            p { "This page was made from these files and from nothing else. Whoever signs, signs these bytes." }
            div.wide tabindex="0" role="region" aria-label="Files" {
                table {
                    caption { "Files" }
                    thead { tr { th scope="col" { "file" } th scope="col" { "is the" } th scope="col" { "SHA-256" } } }
                    tbody {
                        @for input in &document.inputs {
                            tr { th scope="row" { code { (input.name) } } td { (input.kind) } td { code { (input.sha256) } } }
                        }
                    }
                }
            }
            dl.lines {
                div { dt { "Decision" } dd { "☐ approved  ☐ approved with conditions  ☐ rejected" } }
                div { dt { "Conditions" } dd.line {} }
                div { dt { "Name" } dd.line {} }
                div { dt { "Date" } dd.line {} }
                div { dt { "Signature" } dd.line {} }
            }
        }
    }
}

/// Whatever way a string came: no character of the page reorders or hides what is around it.
fn neutral(page: &str) -> String {
    let hidden = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    page.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}
