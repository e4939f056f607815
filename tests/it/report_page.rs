//! The page that a transfer ends with, in a real browser.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use packmule::ingest::{Options, Silent, ingest};
use packmule::report::{Stage, write_reports};
use packmule::s3d::{Fault, FaultPlan, Operation, Quirks};
use packmule::sys::{RealFs, World};

use crate::ingest_kit::{Dataset, What, noise};
use crate::s3_lab::{Lab, target};

/// A browser without a window, or a loud word that there is none.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "headless_shell"];
    let found = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))).find(|p| p.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no Chromium on PATH; the page was NOT opened");
    }
    found
}

#[test]
fn a_browser_shows_how_the_transfer_went() {
    let faults = FaultPlan::default();
    faults.on_key(Operation::PutObject, "data/runs/f3", 2, Fault::InternalError);
    faults.on_key(Operation::PutObject, "hostile", 2, Fault::InternalError);
    let lab = Lab::new(faults.clone(), Quirks::default());
    let mut paths: Vec<(Vec<u8>, What)> =
        (0..30).map(|n| (format!("runs/f{n}").into_bytes(), What::File(noise(n, 40_000)))).collect();
    paths.push((b"raw/large".to_vec(), What::File(noise(77, 20 << 20))));
    paths.push((b"<b>&\"hostile\"".to_vec(), What::File(noise(78, 10))));
    let paths: Vec<_> = paths.iter().map(|(path, what)| (path.as_slice(), what.clone())).collect();
    let dataset = Dataset::new(2, &paths);
    let options = Options { prefix: "data/".to_owned(), ..Options::default() };
    let here = target(&lab.server.as_ref().unwrap().endpoint());
    let world = World::real();
    let outcome = ingest(&mut dataset.job(), &dataset.media(), here, &options, &world, &Silent).unwrap();
    assert_eq!(outcome.left, 0, "{outcome:?}");
    assert!(faults.all_exercised());
    let written = write_reports(&dataset.job(), &RealFs, Stage::Completion, world.clock.now()).unwrap();
    let page = written.dir.join("completion.html");
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(
        !text.contains("<script") && !text.contains("http://") && !text.contains("https://"),
        "nothing from elsewhere"
    );
    let Some(browser) = chromium() else { return };
    let picture = std::env::var_os("PACKMULE_TEST_PICTURE").map_or(dataset.dir.path().join("page.png"), PathBuf::from);
    let run = |args: &[String]| {
        let mut command = Command::new(&browser);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,2400"]);
        command.arg(format!("--user-data-dir={}", dataset.dir.path().join("browser").display())).args(args);
        command.arg(format!("file://{}", page.display())).stdin(Stdio::null()).output().unwrap()
    };
    let shown = String::from_utf8(run(&["--dump-dom".to_owned()]).stdout).unwrap();
    assert!(shown.contains("How the transfer went") && shown.contains("By prefix"), "{shown}");
    assert!(shown.matches("<rect ").count() >= 1, "the timeline is drawn");
    assert!(shown.contains("data/runs/f3"), "what had to be repeated is named");
    assert!(shown.contains("&lt;b&gt;"), "a name is text and never markup");
    run(&[format!("--screenshot={}", picture.display())]);
    assert!(std::fs::metadata(&picture).unwrap().len() > 10_000, "a picture of the page was taken");
}
