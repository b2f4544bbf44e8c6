//! What a page must be: for people who read it, and against names that somebody hostile chose.

use scraper::{Html, Selector};

use super::{
    Document, PLOTS,
    facts::{Refused, Subject, document},
    html, image, plot, text,
};
use crate::{
    recording::{
        BytePath, CapabilityUse, Container, FileAccess, Limits, NetworkUse, Recording, Resources, Saturation,
        Storage, samples,
    },
    requirements,
    seccomp::{profile, runtime::Runtime},
    verify::{
        self,
        attacks::{self, Files},
        filters::{Container as Confined, Filters},
    },
    width,
};

/// Names that break out of texts, attributes, comments, styles, scripts, lines and terminals.
const HOSTILE: [&[u8]; 10] = [
    b"/x</script><script>alert(1)</script>",
    b"/x\"><img src=x onerror=alert(1)>",
    b"/x' onmouseover='alert(1)",
    b"/x</title></svg></style><style>*{display:none}</style>",
    b"/x--><!--",
    b"/x\n<h1>approved</h1>\r\n",
    b"/x\xff\xfe\x00\x1b[2J",
    "/x\u{202e}gpj.exe\u{2066}".as_bytes(),
    b"/x&lt;b&gt;&#60;i&#62;]]>",
    b"/x fill=\"#FE0000\" stroke=\"#FE0009\"",
];

fn file(path: &[u8], access: &str) -> FileAccess {
    FileAccess { owner: Some(true), count: 2, first_ms: 40, last_ms: 900, ..samples::file(path, access) }
}

fn socket(operation: &str, address: Option<&[u8]>, error: Option<&str>) -> NetworkUse {
    NetworkUse {
        error: error.map(str::to_owned),
        refused_by: error.map(|_| "lsm".into()),
        count: 3,
        first_ms: 120,
        last_ms: 700,
        ..samples::socket(operation, address.map(BytePath::from))
    }
}

fn capability(name: &str, nr: u32, granted: bool) -> CapabilityUse {
    CapabilityUse {
        name: name.into(),
        nr,
        granted,
        probe: false,
        refused_by: None,
        syscalls: vec!["chown".into()],
        count: 1,
        first_ms: 300,
        last_ms: 350,
        by: vec![0],
        runs: None,
    }
}

/// A run of a container that does a little of everything.
fn run() -> Recording {
    let mut out = samples::calls(&["read", "openat", "write", "ptrace", "mount"]);
    samples::refuse(&mut out, "mount");
    out.target.kind = "container".into();
    out.target.container = Some(Container {
        name: "agent".into(),
        limits: Limits { memory_bytes: Some(64 << 20), pids: Some(10), ..Limits::default() },
        ..Container::default()
    });
    out.files = vec![
        file(b"/app/main.py", "r"),
        file(b"/app/lib/native.so", "rm"),
        file(b"/app/lib/tool.py", "r"),
        file(b"/tmp/out", "rwc"),
        file(b"/usr/bin/app", "x"),
    ];
    out.network = vec![socket("socket", None, None), socket("connect", Some(b"10.0.0.1:443"), None)];
    out.failed.network = vec![socket("connect", Some(b"10.0.0.2:80"), Some("EACCES"))];
    out.capabilities = vec![capability("chown", 0, true), capability("net_raw", 13, false)];
    out.resources = Resources {
        memory_peak_bytes: Some(48 << 20),
        pids_peak: Some(10),
        cpu_usec: Some(420_000),
        cpu_peak_millis: Some(900),
        storage: vec![Storage { path: "/tmp/".into(), peak_bytes: 2048, peak_files: 1 }],
    };
    let point = |ms, syscalls, paths| Saturation { ms, syscalls, paths, ..Saturation::default() };
    out.saturation = vec![point(10, 3, 1), point(200, 5, 4), point(400, 5, 5)];
    out.normalize();
    out
}

/// A profile that lets `keyctl` through, which nobody used, and not `write`.
const PROFILE: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
    {"names":["read","openat","ptrace","keyctl"],"action":"SCMP_ACT_ALLOW"}]}"#;

fn report(recordings: &[(String, Recording)], json: Option<&str>) -> Document {
    let needs = requirements::fold(recordings, true).unwrap();
    let container = Confined::of(Runtime::None);
    let filters = json.map(|json| {
        let profile = profile::from_json(json.as_bytes(), "p").unwrap();
        Filters::of(vec![("p".into(), profile)], &container).unwrap()
    });
    let verdicts = filters.as_ref().map(|f| verify::seccomp::against(&needs, f, &container).unwrap());
    let judged = filters.as_ref().map(|filters| {
        let files = Files { filters: Some(filters), apparmor: None, capabilities: None };
        attacks::judge(&attacks::built_in().unwrap(), files)
    });
    let dir = tempfile::tempdir().unwrap();
    let measured = json.map_or_else(width::Width::default, |json| {
        let file = dir.path().join("p.json");
        std::fs::write(&file, json).unwrap();
        let seccomp = Some(file.as_path());
        width::measure(&width::Question { seccomp, needs: Some(&needs), ..width::Question::default() })
            .unwrap()
    });
    let refused = Refused {
        path: HOSTILE[0].into(),
        access: "w".into(),
        error: "EACCES".into(),
        by: "/usr/bin/app".into(),
        count: 1,
    };
    document(&Subject {
        inputs: vec![],
        recordings,
        refused: &[refused],
        failed: 3,
        needs: &needs,
        verdicts: verdicts.as_ref(),
        judged: judged.as_ref(),
        filters: filters.as_ref(),
        width: &measured,
        runtime: None,
    })
}

fn one() -> Document {
    report(&[("run1.json".into(), run())], Some(PROFILE))
}

fn all<'a>(page: &'a Html, selector: &str) -> Vec<scraper::ElementRef<'a>> {
    page.select(&Selector::parse(selector).unwrap()).collect()
}

#[test]
fn the_summary_for_terminals() {
    let text = text::text(&one());
    let plain = anstream::adapter::strip_str(&text).to_string();
    assert!(!plain.contains('\x1b'));
    insta::assert_snapshot!(plain);
}

#[test]
fn the_page_is_sound_and_can_be_read_by_everybody() {
    let text = html::page(&one()).unwrap();
    let page = Html::parse_document(&text);
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    let root = page.root_element();
    assert_eq!(root.value().attr("lang"), Some("en"));
    // One h1, and no level is left out.
    let levels: Vec<u32> =
        all(&page, "h1,h2,h3,h4").iter().map(|h| h.value().name()[1..].parse().unwrap()).collect();
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    let sections: Vec<&str> = all(&page, "section").iter().filter_map(|s| s.value().attr("id")).collect();
    assert_eq!(sections, ["verdict", "allowed", "refused", "measured", "sign"]);
    // Every picture has a name and a description, and they are its own.
    let pictures = all(&page, "svg");
    assert_eq!(pictures.len(), PLOTS.len());
    for svg in pictures {
        assert_eq!(svg.value().attr("role"), Some("img"));
        let named = svg.value().attr("aria-labelledby").unwrap();
        for (id, tag) in named.split(' ').zip(["title", "desc"]) {
            let found = all(&page, &format!("svg {tag}#{id}"));
            assert_eq!(found.len(), 1, "{id}");
            assert!(found[0].text().any(|text| text.len() > 5), "{id}");
        }
    }
    assert!(all(&page, "table").len() > 8);
    assert!(all(&page, "th").iter().all(|th| th.value().attr("scope").is_some()));
    assert_eq!(all(&page, "table > caption").len(), all(&page, "table").len());
    let mut ids: Vec<&str> = all(&page, "[id]").iter().filter_map(|e| e.value().attr("id")).collect();
    let before = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), before, "an id comes twice");
    let links: Vec<&str> = all(&page, "a").iter().filter_map(|a| a.value().attr("href")).collect();
    assert!(links.iter().all(|link| ids.contains(&link.trim_start_matches('#'))), "{links:?}");
    // Nothing is loaded.
    assert!(all(&page, "script,img,link,iframe,object,embed,form,use,image,base").is_empty());
    assert!(!text.contains("url(") && !text.contains("@import") && !text.contains("http://www.w3.org"));
    let policy = all(&page, "meta[http-equiv=Content-Security-Policy]");
    assert!(policy[0].value().attr("content").unwrap().starts_with("default-src 'none'"));
}

#[test]
fn what_is_wrong_comes_first() {
    let document = one();
    assert_eq!(document.verdict.0, super::Mark::Bad);
    let page = html::page(&document).unwrap();
    for said in [
        "1 needed thing would be blocked",
        "write → EPERM",
        "used, and the files let it through",
        "let through, and never used",
        "refused while it was recorded, and the target went on",
        "48.0 MiB of 64.0 MiB",
    ] {
        assert!(page.contains(said), "{said}");
    }
    let clean = report(
        &[("r".into(), samples::calls(&["read"]))],
        Some(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#,
        ),
    );
    assert_eq!(clean.verdict, (super::Mark::Good, "The profiles fit".into()));
    let mut lossy = samples::calls(&["read"]);
    (lossy.complete, lossy.losses) = (false, [("ring_full".to_owned(), 7)].into());
    let lossy = report(&[("r".into(), lossy)], None);
    assert_eq!(lossy.verdict.0, super::Mark::Warn);
    assert!(lossy.reasons.iter().any(|(_, why)| why.contains("ring_full 7")), "{:?}", lossy.reasons);
}

/// A recording in which every string is hostile.
fn hostile() -> Recording {
    let mut out = run();
    let nasty = |at: usize| String::from_utf8_lossy(HOSTILE[at % HOSTILE.len()]).into_owned();
    for (at, name) in HOSTILE.iter().enumerate() {
        out.files.push(file(name, "rwcx"));
        out.files.push(file(&[*name, b"/below/".as_slice(), *name].concat(), "r"));
        out.network.push(socket("connect", Some(name), None));
        out.executables.push(crate::recording::Executable {
            path: BytePath::from(*name),
            executed: true,
            build_id: Some(nasty(at)),
            ..Default::default()
        });
        out.capabilities
            .push(CapabilityUse { syscalls: vec![nasty(at)], ..capability(&nasty(at), 40, at % 2 == 0) });
        out.syscalls.push(crate::recording::Syscall {
            nr: 9_000,
            name: nasty(at),
            arch: nasty(at + 1),
            errors: vec![nasty(at)],
            by: vec![u32::try_from(at).unwrap() + 1],
            ..out.syscalls[0].clone()
        });
        out.warnings.push(nasty(at));
        out.losses.insert(nasty(at), 3);
        out.target.apparmor.push(BytePath::from(*name));
        out.resources.storage.push(Storage {
            path: BytePath::from(*name),
            peak_bytes: 1 << 40,
            peak_files: 1,
        });
    }
    out.complete = false;
    (out.started, out.tool, out.host.kernel) = (nasty(0), nasty(1), nasty(3));
    (out.host.hooks, out.target.ended, out.target.kind) = (nasty(4), nasty(5), nasty(7));
    if let Some(container) = &mut out.target.container {
        (container.name, container.image) = (nasty(0) + &nasty(7), Some(nasty(1)));
    }
    out
}

#[test]
fn no_name_becomes_markup() {
    let document = report(&[(String::from_utf8_lossy(HOSTILE[3]).into_owned(), hostile())], None);
    let text = html::page(&document).unwrap();
    let page = Html::parse_document(&text);
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    let known = [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "a",
        "header",
        "p",
        "h1",
        "h2",
        "h3",
        "nav",
        "main",
        "div",
        "span",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "section",
        "figure",
        "figcaption",
        "svg",
        "desc",
        "rect",
        "line",
        "text",
        "polyline",
        "details",
        "summary",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "footer",
    ];
    for element in all(&page, "*") {
        let name = element.value().name();
        assert!(known.contains(&name), "<{name}>");
        for (attribute, value) in element.value().attrs() {
            assert!(!attribute.starts_with("on") && attribute != "style", "{attribute}={value}");
        }
    }
    assert_eq!(all(&page, "style").len(), 1);
    assert_eq!(all(&page, "h1").len(), 1);
    assert!(text.contains("&lt;/script&gt;&lt;script&gt;"), "the names are shown as they are");
    let hidden = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(hidden));
    // The pictures alone are XML, and their words are texts.
    for one in document.plots() {
        let svg = plot::draw(one).unwrap();
        for text in [svg.alone(), svg.on_white()] {
            let parsed = resvg::usvg::roxmltree::Document::parse(&text).unwrap();
            for node in parsed.descendants().filter(resvg::usvg::roxmltree::Node::is_element) {
                assert!(known.contains(&node.tag_name().name()), "{}: {:?}", one.id, node.tag_name());
                assert!(node.attributes().all(|a| !a.name().starts_with("on")), "{}", one.id);
            }
        }
    }
    let text = text::text(&document);
    let plain = anstream::adapter::strip_str(&text).to_string();
    assert!(!plain.contains(hidden), "{plain}");
    // What is not ours to colour is escaped, not stripped.
    assert!(plain.contains("\\x1b[2J"), "{plain}");
}

#[test]
fn ten_thousand_paths_are_less_than_a_megabyte_and_the_same_bytes_each_time() {
    let mut large = run();
    for n in 0..10_000 {
        let path = match n % 10 {
            0 => format!("/app/checkpoints/step-{n:07}/weights-of-a-rather-long-name.pt"),
            1 => format!("/usr/lib/python3.11/site-packages/package{:03}/module_{n}.so", n % 97),
            _ => format!("/data/train/shard-{:04}/img-{n:06}.jpg", n / 100),
        };
        large
            .files
            .push(file(path.as_bytes(), ["rwcd", "rm", "r", "r", "r", "r", "r", "r", "r", "r"][n % 10]));
    }
    large.saturation = (0..20_000)
        .map(|n| Saturation { ms: n, syscalls: n / 200, paths: n / 2, ..Saturation::default() })
        .collect();
    let recordings = [("run.json".to_owned(), large)];
    let page = html::page(&report(&recordings, Some(PROFILE))).unwrap();
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert!(page.contains("more rows"), "what is left out is said");
    assert_eq!(page, html::page(&report(&recordings, Some(PROFILE))).unwrap());
}

#[test]
fn every_plot_is_a_picture() {
    let document = one();
    let drawn: Vec<&str> = document.plots().map(|plot| plot.id).collect();
    assert_eq!(drawn, PLOTS.map(|(id, _)| id));
    for one in document.plots() {
        let svg = plot::draw(one).unwrap();
        let png = image::png(&svg).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 3_000, "{}: {} bytes", one.id, png.len());
        assert_eq!(png, image::png(&svg).unwrap(), "{}", one.id);
        // No colour is forgotten.
        assert!(!svg.inline().contains("#FE00") && !svg.on_white().contains("#FE00"), "{}", one.id);
    }
}
